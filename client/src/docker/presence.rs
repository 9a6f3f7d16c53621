//! What an engine has of dtap, to be removed again where it turns out to be of no use.

use std::collections::HashMap;

use anyhow::Result;
use bollard::query_parameters::ListImagesOptionsBuilder;

use super::Engine;
use super::server::{SERVER_LABEL, VOLUME};

/// Whether there is a server container, its volume, and an image of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    container: bool,
    volume: bool,
    image: bool,
}

impl Engine {
    pub async fn presence(&self) -> Result<Presence> {
        let volume = self.docker.inspect_volume(VOLUME);
        let volume = self.ask_for("look for the server's volume", volume).await?;
        let filters = HashMap::from([("label", vec![SERVER_LABEL])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = self.docker.list_images(Some(options));

        Ok(Presence {
            container: self.server().await?.is_some(),
            volume: volume.is_some(),
            image: !self.ask("list images", images).await?.is_empty(),
        })
    }

    /// Removes what was not there before.
    pub async fn return_to(&self, before: Presence) -> Result<()> {
        if !before.container
            && let Some(server) = self.server().await?
        {
            self.remove_server(&server).await?;
        }
        if !before.volume {
            self.remove_volume().await?;
        }
        if !before.image {
            self.remove_images().await?;
        }
        Ok(())
    }
}
