//! The end of everything a server did, before it is removed.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::{Engine, ServerContainer, ServerState};

impl Engine {
    /// Makes the server undo what it did for clients, those that are on their way back included. One that does not run is
    /// started for it: if it was killed, nobody else knows what it left.
    pub async fn reset_server(&self, server: &ServerContainer) -> Result<()> {
        if server.state != ServerState::Running {
            self.start_server(server).await?;
        }
        let deadline = Instant::now() + STARTING;

        loop {
            let Err(error) = self.try_reset(server).await else {
                return Ok(());
            };
            if Instant::now() > deadline {
                return Err(error).context("make the server undo what it did");
            }
            sleep(RETRY).await;
        }
    }

    async fn try_reset(&self, server: &ServerContainer) -> Result<()> {
        let mut program = self.run(&server.id, &RESET, &Handle::current()).await?;
        let mut answer = Vec::new();
        program.output.read_to_end(&mut answer).await?;

        match program.process.exit_code().await? {
            Some(0) => Ok(()),
            Some(_) | None => bail!("{}", program.process.stderr()),
        }
    }
}

const RESET: [&str; 2] = ["/dtap-server", "reset"];
/// How long a started server may take until it answers.
const STARTING: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);
