//! Servers of a test case: what a stage connects to over TCP goes to them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use pipehost_config::case::Exchange;

/// The servers of a case. They end when this is dropped.
#[derive(Default)]
pub(super) struct Servers {
    /// For each address that the case names, where its server listens.
    pub places: Vec<(SocketAddr, SocketAddr)>,
    unexpected: Arc<Mutex<Option<String>>>,
    _tasks: JoinSet<()>,
}

impl Servers {
    /// Starts a server for each address.
    pub(super) async fn start(exchanges: &[Exchange]) -> Result<Self> {
        let mut by_address = BTreeMap::<SocketAddr, Vec<Exchange>>::new();
        for exchange in exchanges {
            by_address.entry(exchange.address).or_default().push(exchange.clone());
        }
        let (mut places, mut tasks) = (Vec::new(), JoinSet::new());
        let unexpected = Arc::new(Mutex::new(None));
        for (address, exchanges) in by_address {
            // A socket of a guest is of one family.
            let loopback = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let listener = TcpListener::bind(loopback).await;
            let listener =
                listener.with_context(|| format!("cannot listen in place of {address}"))?;
            places.push((address, listener.local_addr()?));
            tasks.spawn(serve(listener, exchanges.into(), unexpected.clone()));
        }
        Ok(Self { places, unexpected, _tasks: tasks })
    }

    /// What the stage has sent that the case does not know, if it did since the last time.
    pub(super) fn unexpected(&self) -> Option<String> {
        self.unexpected.lock().expect("nothing panics while it is locked").take()
    }
}

async fn serve(
    listener: TcpListener,
    exchanges: Arc<[Exchange]>,
    unexpected: Arc<Mutex<Option<String>>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (exchanges, unexpected) = (exchanges.clone(), unexpected.clone());
        connections.spawn(async move {
            if let Ok(Some(sent)) = converse(stream, &exchanges).await {
                let sent = String::from_utf8_lossy(&sent).escape_debug().to_string();
                let address = exchanges[0].address;
                let told = format!(
                    "the stage sent \"{sent}\" to {address}: no `[[grants.tcp]]` of the case wants that"
                );
                unexpected.lock().expect("nothing panics while it is locked").get_or_insert(told);
            }
        });
    }
}

/// One connection. Returns what the client has sent if the case does not know it.
async fn converse(
    mut stream: TcpStream,
    exchanges: &[Exchange],
) -> std::io::Result<Option<Vec<u8>>> {
    let mut sent = Vec::new();
    // One that wants nothing is what the server says first, and never again.
    let mut next = exchanges.iter().find(|exchange| exchange.wants.is_empty());
    loop {
        if let Some(exchange) = next {
            sent.clear();
            stream.write_all(&exchange.answer).await?;
            if exchange.close {
                return Ok(None);
            }
        }
        if stream.read_buf(&mut sent).await? == 0 {
            return Ok((!sent.is_empty()).then_some(sent));
        }
        if !exchanges.iter().any(|exchange| exchange.wants.starts_with(&sent)) {
            return Ok(Some(sent));
        }
        next = exchanges.iter().find(|exchange| exchange.wants == sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(wants: &str, answer: &str, close: bool) -> Exchange {
        let address = "192.0.2.1:6379".parse().unwrap();
        Exchange { address, wants: wants.into(), answer: answer.into(), close }
    }

    /// What a client gets that sends this in pieces and then reads to the end.
    async fn told(servers: &Servers, sends: &[&str]) -> String {
        let mut stream = TcpStream::connect(servers.places[0].1).await.unwrap();
        for piece in sends {
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        let mut told = String::new();
        let _ = stream.read_to_string(&mut told).await;
        told
    }

    #[tokio::test]
    async fn a_server_speaks_first_and_then_answers_each_request() {
        let exchanges = [
            exchange("", "hi\n", false),
            exchange("get a", "1\n", false),
            exchange("bye", "bye\n", true),
        ];
        let servers = Servers::start(&exchanges).await.unwrap();
        let mut stream = TcpStream::connect(servers.places[0].1).await.unwrap();
        let mut told = String::new();
        for (sends, answer) in
            [("", "hi\n"), ("ge", ""), ("t a", "1\n"), ("get a", "1\n"), ("bye", "bye\n")]
        {
            stream.write_all(sends.as_bytes()).await.unwrap();
            let mut came = vec![0; answer.len()];
            stream.read_exact(&mut came).await.unwrap();
            assert_eq!(String::from_utf8(came).unwrap(), answer);
        }
        assert_eq!(stream.read_to_string(&mut told).await.unwrap(), 0, "it closes");
        assert_eq!(servers.unexpected(), None);
    }

    #[tokio::test]
    async fn what_no_exchange_begins_with_is_told_once() {
        let servers = Servers::start(&[exchange("get a", "1", true)]).await.unwrap();
        assert_eq!(told(&servers, &["get a"]).await, "1");
        assert_eq!(told(&servers, &["set", "\n"]).await, "");
        let unexpected = servers.unexpected().unwrap();
        assert!(
            unexpected.contains("the stage sent \"set") && unexpected.contains("192.0.2.1:6379")
        );
        assert_eq!(servers.unexpected(), None);
    }
}
