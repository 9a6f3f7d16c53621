//! What `dtap-server status` shows.

use dtap_tunnel::PublicKey;
use serde::Serialize;

use super::Server;

#[derive(Serialize)]
struct Status<'a> {
    version: &'a str,
    /// Of the tunnel; there is one while a client is paired.
    interface: Option<&'a str>,
    port: u16,
    clients: Vec<ClientStatus>,
}

#[derive(Serialize)]
struct ClientStatus {
    public_key: PublicKey,
    host_address: String,
    present: bool,
    networks: Vec<String>,
}

impl Server {
    pub(super) fn status(&self) -> String {
        let clients = self.clients.iter().map(|(key, client)| ClientStatus {
            public_key: *key,
            host_address: client.addresses.host()[0].to_string(),
            present: client.grace_end().is_none(),
            networks: client
                .attachments
                .iter()
                .map(|it| it.network.clone())
                .collect(),
        });
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            interface: self.data_plane.as_ref().map(|it| it.interface.as_str()),
            port: self.store.state.port,
            clients: clients.collect(),
        };
        serde_json::to_string_pretty(&status).unwrap_or_default()
    }
}
