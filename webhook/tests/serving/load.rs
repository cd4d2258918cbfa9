//! Requests without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::client::Client;
use crate::running::{eventually, within};

/// Clients that post without end, each request counted. Half of them keep their connection, the others
/// open a new one for each request.
pub(crate) struct Load {
    clients: JoinSet<std::io::Result<()>>,
    stop: Arc<AtomicBool>,
    posted: Arc<AtomicUsize>,
}

impl Load {
    /// `client` is asked anew for each connection.
    pub(crate) fn start(
        count: usize,
        client: impl Fn() -> Client + Clone + Send + Sync + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let posted = Arc::new(AtomicUsize::new(0));
        let clients = (0..count)
            .map(|number| {
                let (client, stop, posted) =
                    (client.clone(), Arc::clone(&stop), Arc::clone(&posted));
                async move {
                    let mut connection = client().connect().await?;
                    while !stop.load(Ordering::Relaxed) {
                        let status = connection.post("{}").await?.status;
                        assert!(status == 200 || status == 400, "{status}");
                        posted.fetch_add(1, Ordering::Relaxed);
                        if number % 2 == 1 {
                            connection = client().connect().await?;
                        }
                    }
                    Ok(())
                }
            })
            .collect();
        Self { clients, stop, posted }
    }

    /// Returns once as many more requests were answered.
    pub(crate) async fn goes_on(&self, more: usize) {
        let goal = self.posted.load(Ordering::Relaxed) + more;
        eventually("the load goes on", async || self.posted.load(Ordering::Relaxed) >= goal).await;
    }

    /// Not one request has failed.
    pub(crate) async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = within(self.clients.join_next()).await {
            ended.unwrap().unwrap();
        }
    }
}
