//! From a configuration to an engine with a door: the data directory, the stores, recovery.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::StartError;
use super::doors::Doors;
use super::process::raise_file_limit;
use crate::admin::Admin;
use crate::blob::disk::{DiskBlobs, DiskOptions};
use crate::config::{Config, ConfigError};
use crate::engine::{Content, DataDir, Engine, NO_LIMIT, Notes, Options, SessionOptions};
use crate::hooks::Hooks;
use crate::lock::memory::MemoryLocker;
use crate::protocol::location::Via;
use crate::security::admin::AdminDoor;
use crate::security::auth::Auth;
use crate::security::cors::{Cors, CorsOptions};
use crate::security::gate::Gate;
use crate::state::sled::SledState;
use crate::web::{self, Web};
use crate::{session, tus, watch};

/// An engine, the directory it works in, and the doors to it.
pub(super) struct Open {
    pub(super) engine: Engine,
    /// Once it is noted that every upload has its record.
    pub(super) dir: JoinHandle<DataDir>,
    pub(super) auth: Arc<Auth>,
    pub(super) app: Doors,
}

/// The data directory's state store.
const STATE: &str = "state";
/// What people see of sessions.
const SESSIONS: &str = "sessions";

/// Opens everything below `--upload-dir`, and mends what a crash left.
pub(super) async fn open(config: &Config, addr: Option<SocketAddr>) -> Result<Open, StartError> {
    // First: what it refuses must not leave anything running.
    let auth = Arc::new(config.auth.open()?);
    let stores = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || stores(&config))
    };
    let Stores {
        mut dir,
        blobs,
        state,
        rebuild,
    } = stores
        .await
        .map_err(|error| StartError::System(io::Error::other(error)))??;
    let options = Options {
        hooks: Arc::new(hooks(config)?),
        ..options(config, &dir)
    };
    let locks = Arc::new(MemoryLocker::default());
    let (engine, found) = Engine::open(options, Arc::new(blobs), Arc::new(state), locks, rebuild)
        .await
        .map_err(|reject| StartError::Storage(reject.to_string()))?;
    info!(
        upload_dir = %config.upload_dir.display(),
        open = found.open,
        waiting = found.waiting,
        assembling = found.assembling,
        rebuilt = found.rebuilt,
        "uploads recovered"
    );
    if found.owned > 0 && !auth.asks() {
        warn!(
            uploads = found.owned,
            "UPLOADS OF USERS ARE OPEN TO EVERYBODY: they were created under another --auth, and with --auth none whoever knows an upload's id can read, change and delete it (of a session, whoever has its token)"
        );
    }
    // Two syncs that nobody needs to wait for: an end before that makes the next start look for records once more.
    let dir = tokio::task::spawn_blocking(move || {
        if let Err(error) = dir.records_complete() {
            warn!(%error, "that every upload has its record could not be noted");
        }
        dir
    });
    let rates = (config.limits.allowed(), config.limits.total());
    let gate = Gate::new(auth.clone(), rates, config.behind_proxy);
    gate.remember(found.begun.iter().map(|(user, ago)| (user.as_ref(), *ago)));
    let settings = settings(config, Arc::new(gate))?;
    let guard = AdminDoor {
        token: config.admin_token.clone(),
        // A proxy that names users is no operator at this machine, whether it adds a header that tells of it or not.
        loopback: !auth.is_ambient()
            && addr.is_some_and(|addr| addr.ip().to_canonical().is_loopback()),
        asks: auth.asks(),
        via: settings.via.clone(),
    };
    if guard.is_shut() {
        info!(
            "there is no admin API: with --auth it wants the credential of --admin-token, which is not set"
        );
    }
    let pages = web::Settings {
        base_path: settings.base_path.clone(),
        sessions: !config.disable_sessions,
        max_size: config.max_size,
        guard: guard.clone(),
    };
    let watch = watch::Settings {
        cors: settings.cors.clone(),
        via: settings.via.clone(),
        gate: settings.gate.clone(),
        guard: guard.clone(),
        max_subscriptions: config.max_subscriptions,
        timeout: config.progress_timeout,
    };
    let sessions = session::Settings {
        enabled: !config.disable_sessions,
        termination: !config.disable_termination,
        base_path: settings.base_path.clone(),
        via: settings.via.clone(),
        cors: settings.cors.clone(),
        gate: settings.gate.clone(),
        patience: some(config.network_timeout),
    };
    let app = Doors {
        hooked: engine.has_hooks(),
        web: (!config.no_pages).then(|| Web::new(&pages)),
        watch: watch::App::new(engine.clone(), watch),
        sessions: session::App::new(engine.clone(), sessions),
        admin: Admin::new(engine.clone(), guard, settings.gate.clone()),
        tus: tus::App::new(engine.clone(), settings),
    };
    Ok(Open {
        engine,
        dir,
        auth,
        app,
    })
}

struct Stores {
    dir: DataDir,
    blobs: DiskBlobs,
    state: SledState,
    /// The database is new, or was never known to be whole: where there are sidecars without records, the records are made from them.
    rebuild: bool,
}

fn stores(config: &Config) -> Result<Stores, StartError> {
    let storage = |error: &dyn std::fmt::Display| StartError::Storage(error.to_string());
    let dir =
        DataDir::open(&config.upload_dir, config.dir_perms).map_err(|error| storage(&error))?;
    // Connections have one half of the files; of the other, some are for reading, the state store and the log.
    let files = raise_file_limit().map_or(usize::MAX, |files| {
        usize::try_from(files / 4).unwrap_or(usize::MAX)
    });
    let disk = DiskOptions {
        dir_mode: config.dir_perms,
        file_mode: config.file_perms,
        max_open_files: files.clamp(16, 1 << 20),
    };
    let blobs = DiskBlobs::open(&config.upload_dir, &disk).map_err(|error| storage(&error))?;
    let path = config.upload_dir.join(STATE);
    let fresh = !path.join("db").exists();
    let opened = SledState::open(&path).map_err(|error| storage(&error))?;
    let rebuild = fresh || !dir.has_records() || opened.rebuilt_from.is_some();
    Ok(Stores {
        dir,
        state: opened.state.at(blobs.pace()),
        blobs,
        rebuild,
    })
}

/// Who is asked and told, and who is handed what is complete.
fn hooks(config: &Config) -> Result<Hooks, ConfigError> {
    let mut hooks = config.hooks.open()?;
    config.content.fits(&hooks)?;
    config.handoff.add_to(&mut hooks)?;
    let public = config.public_url.as_ref();
    let public = public.filter(|_| !config.disable_download);
    hooks.url = public.map(|public| format!("{public}{}", config.base_path.as_str()));
    Ok(hooks)
}

/// 0 is for none.
fn some(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

fn options(config: &Config, dir: &DataDir) -> Options {
    Options {
        durability: config.durability,
        max_size: if config.max_size == 0 {
            NO_LIMIT
        } else {
            config.max_size.min(NO_LIMIT)
        },
        min_size: config.min_size,
        expire_after: some(config.expire_after),
        expire_completed: some(config.expire_completed),
        assemble: config.assemble,
        keep_partials: config.keep_partials,
        network_timeout: some(config.network_timeout),
        pause_after: config.pause_after,
        disk_warn: config.disk_warn,
        disk_stop: config.disk_stop,
        bounds: config.limits.bounds(),
        types: config.limits.types(),
        sessions: SessionOptions {
            chunk_size: config.session_chunk_size,
            chunk_min: config.session_chunk_min,
            chunk_max: config.session_chunk_max,
            parallel: config.session_parallel_chunks,
            notes: Some(Notes {
                dir: config.upload_dir.join(SESSIONS),
                dir_mode: config.dir_perms,
                file_mode: config.file_perms,
            }),
        },
        hooks: Arc::default(),
        content: Content {
            sniff: config.content.sniffing(),
            names: config.content.names(),
            scan: config.content.scanning(),
            quarantine_for: some(config.content.scan_quarantine_for),
        },
        power_cuts: dir.power_cuts(),
        power_lost: dir.power_lost(),
    }
}

fn settings(config: &Config, gate: Arc<Gate>) -> Result<tus::Settings, StartError> {
    // Where a browser shows the credential by itself, pages of other origins must be named one by one.
    let everybody = config.cors_allow_origin == CorsOptions::default().allow_origin;
    let cors = if config.disable_cors || (gate.auth().is_ambient() && everybody) {
        None
    } else {
        Some(Cors::new(&config.cors()).map_err(|error| StartError::Storage(error.to_string()))?)
    };
    Ok(tus::Settings {
        base_path: config.base_path.clone(),
        via: Via {
            tls: config.tls.tls_certificate.is_some(),
            behind_proxy: config.behind_proxy,
            public_url: config.public_url.clone(),
        },
        cors,
        gate,
        download: !config.disable_download,
        termination: !config.disable_termination,
        concatenation: !config.disable_concatenation,
    })
}
