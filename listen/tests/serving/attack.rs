//! Clients that use up what they can, for as long as the attack lasts.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::client::{ATTACKER, Stream, Target, get, post_head};

/// All come within that time.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Whoever is cut off comes again after that time.
const PAUSE: Duration = Duration::from_millis(500);

/// What each of an attack's clients does.
#[derive(Clone)]
pub(crate) struct Attack {
    pub(crate) clients: usize,
    /// The clients come from as many addresses.
    pub(crate) addresses: u16,
    /// The TLS handshake is done first, where there is one.
    pub(crate) tls: bool,
    pub(crate) first: Vec<u8>,
    pub(crate) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more is sent.
    Silence,
    /// A byte each second.
    Drip,
    /// The same again and again, as long as it is taken, and no answer is read.
    Again,
}

impl Attack {
    fn new(clients: usize, first: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { clients, addresses: 1, tls: true, first: first.into(), then }
    }

    pub(crate) fn silent(clients: usize) -> Self {
        Self { tls: false, ..Self::new(clients, "", Then::Silence) }
    }

    pub(crate) fn strangers(addresses: u16, at_each: u16) -> Self {
        Self { addresses, ..Self::silent(usize::from(addresses * at_each)) }
    }

    /// The first bytes of a `ClientHello` that announces 512 bytes.
    pub(crate) fn half_handshakes(clients: usize) -> Self {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        Self { tls: false, ..Self::new(clients, hello, Then::Silence) }
    }

    /// Silent after a complete handshake.
    pub(crate) fn silent_after_handshakes(clients: usize) -> Self {
        Self::new(clients, "", Then::Silence)
    }

    pub(crate) fn half_heads(clients: usize) -> Self {
        Self::new(clients, "GET /livez HTTP/1.1\r\nX: ", Then::Silence)
    }

    pub(crate) fn slow_heads(clients: usize) -> Self {
        Self::new(clients, "POST /mutate/pods HTTP/1.1\r\nX: ", Then::Drip)
    }

    pub(crate) fn slow_bodies(clients: usize) -> Self {
        Self::bodies(clients, 100_000, 100)
    }

    /// The beginning at full speed, then a byte each second.
    pub(crate) fn bodies_that_begin_fast(clients: usize) -> Self {
        Self::bodies(clients, 6 << 20, 200_000)
    }

    /// The last byte is missing.
    pub(crate) fn bodies_that_stop_short(clients: usize) -> Self {
        let Self { first, .. } = Self::bodies(clients, 6 << 20, (6 << 20) - 1);
        Self::new(clients, first, Then::Silence)
    }

    fn bodies(clients: usize, announced: usize, sent: usize) -> Self {
        let mut first = post_head(announced).into_bytes();
        first.resize(first.len() + sent, b' ');
        Self::new(clients, first, Then::Drip)
    }

    pub(crate) fn answers_never_read(clients: usize) -> Self {
        Self::new(clients, get("/metrics"), Then::Again)
    }

    /// Goes on until what is returned is dropped, in a thread of its own.
    pub(crate) fn start(&self, target: Target) -> Attackers {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        for number in 0..self.clients {
            let attack = self.clone();
            runtime.spawn(async move {
                sleep(
                    ARRIVAL * u32::try_from(number).unwrap()
                        / u32::try_from(attack.clients).unwrap(),
                )
                .await;
                loop {
                    let _ = attack.client(target, attack.address(number)).await;
                    sleep(PAUSE).await;
                }
            });
        }
        Attackers(Some(runtime))
    }

    fn address(&self, number: usize) -> IpAddr {
        if self.addresses == 1 {
            return ATTACKER;
        }
        let number = u16::try_from(number % usize::from(self.addresses)).unwrap();
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, 1, high, low).into()
    }

    async fn client(&self, target: Target, from: IpAddr) -> io::Result<()> {
        let buffer = (self.then == Then::Again).then_some(4096);
        let mut stream = target.tcp(from, buffer).await?;
        if self.tls {
            stream = target.tls(stream).await?;
        }
        self.attack(stream).await
    }

    async fn attack(&self, stream: Box<dyn Stream>) -> io::Result<()> {
        let (mut reads, mut writes) = tokio::io::split(stream);
        let sends = async {
            writes.write_all(&self.first).await?;
            writes.flush().await?;
            loop {
                match self.then {
                    Then::Silence => std::future::pending().await,
                    Then::Drip => {
                        sleep(Duration::from_secs(1)).await;
                        writes.write_all(b"x").await?;
                    }
                    Then::Again => writes.write_all(&self.first).await?,
                }
                writes.flush().await?;
            }
        };
        if self.then == Then::Again {
            return sends.await;
        }
        // Until it is cut off.
        let mut answer = [0; 1024];
        let cut = async {
            while reads.read(&mut answer).await? > 0 {}
            Ok(())
        };
        tokio::select! {
            cut = cut => cut,
            sent = sends => sent,
        }
    }
}

pub(crate) struct Attackers(Option<Runtime>);

impl Drop for Attackers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
