//! What changes without a restart: files of credentials and certificates are looked at every two seconds, and at once when asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::security::kept::Reload;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Files that are read anew.
pub(super) struct Watched {
    /// What they are, in the log.
    what: &'static str,
    files: Arc<dyn Reload>,
    /// What the last look found wrong with them, and told.
    told: Option<String>,
}

impl Watched {
    pub(super) fn new(what: &'static str, files: Arc<dyn Reload>) -> Self {
        Self {
            what,
            files,
            told: None,
        }
    }

    async fn look(&mut self, asked: bool) {
        let files = self.files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || files.reload(asked)).await else {
            return; // the runtime ends
        };
        let what = self.what;
        let wrong = match read {
            Ok(true) => {
                info!("{what}: read anew");
                None
            }
            Ok(false) if asked => {
                info!("{what}: as before");
                None
            }
            Ok(false) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = wrong.as_ref().filter(|_| asked || wrong != self.told) {
            error!(
                error,
                "{what}: cannot be used as it is now; the last good one stays"
            );
        }
        self.told = wrong;
    }
}

/// Looks until the stop.
pub(super) async fn watch(mut all: Vec<Watched>, asked: Arc<Notify>, stop: CancellationToken) {
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            () = asked.notified() => true,
            () = sleep(LOOK) => false,
        };
        for watched in &mut all {
            watched.look(asked).await;
        }
    }
}
