//! The data directory as a whole: one process at a time, and how the last one ended.
//!
//! The file `boot` holds the machine's boot id, whether the last server ended cleanly with everything on the disk, and how
//! many losses of power the directory has seen. After an unclean end under another boot id, bytes that were never synced
//! cannot be trusted, whatever the files' lengths say.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::since_epoch;

/// A data directory held by this process.
pub struct DataDir {
    path: PathBuf,
    /// Locked; also what `syncfs` is called on.
    dir: std::fs::File,
    boot: Boot,
    /// Whether the last server knew every upload to have its record.
    records: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    id: String,
    clean: bool,
    power_cuts: u32,
    /// Whether every upload has its record: false from before the database is opened until it is known to be whole.
    #[serde(default)]
    records: bool,
    /// Whether a loss of power came before that: what has no record may hold anything.
    #[serde(default)]
    doubt: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another server uses it.
    #[error("the data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The system refuses.
    #[error("the data directory {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl DataDir {
    /// Makes the directory if need be, with the permissions `mode`, locks it, and notes that it is in use.
    ///
    /// # Errors
    /// `InUse`, or what the system says.
    pub fn open(path: &Path, mode: u32) -> Result<Self, DirError> {
        let failed = |source: io::Error| DirError::Io {
            path: path.into(),
            source,
        };
        make_dirs(path, mode).map_err(failed)?;
        let dir = std::fs::File::open(path).map_err(failed)?;
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DirError::InUse(path.into())),
            Err(error) => return Err(failed(error.into())),
        }
        let before = read_boot(path).map_err(failed)?;
        let boot = next_boot(before, &machine_boot_id());
        let (boot, records) = (
            Boot {
                records: false,
                ..boot
            },
            boot.records,
        );
        let this = Self {
            path: path.into(),
            dir,
            boot,
            records,
        };
        this.write_boot(&this.boot).map_err(failed)?;
        Ok(this)
    }

    /// How many losses of power the directory has seen.
    #[must_use]
    pub fn power_cuts(&self) -> u32 {
        self.boot.power_cuts
    }

    /// Whether the directory lost power, and no start since then, this one included, has come to know every upload to have
    /// its record.
    #[must_use]
    pub fn power_lost(&self) -> bool {
        self.boot.doubt
    }

    /// Whether the state database can be trusted to have every upload's record. If not (it was new or set aside, and the
    /// rebuild did not come to its end), the records are to be made from the sidecars before any file is taken for an
    /// orphan.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.records
    }

    /// Notes that every upload has its record.
    ///
    /// # Errors
    /// What the system says.
    pub fn records_complete(&mut self) -> io::Result<()> {
        self.boot.records = true;
        self.boot.doubt = false;
        self.write_boot(&self.boot)
    }

    /// Notes a clean end, once everything in the directory is on the disk. The directory stays locked while `self` lives.
    ///
    /// # Errors
    /// What the system says.
    pub fn close(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.dir)?;
        self.write_boot(&Boot {
            clean: true,
            ..self.boot.clone()
        })
    }

    fn write_boot(&self, boot: &Boot) -> io::Result<()> {
        let draft = self.path.join("boot~");
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(&serde_json::to_vec(boot)?)?;
        file.sync_all()?;
        std::fs::rename(&draft, self.path.join("boot"))?;
        self.dir.sync_all()
    }
}

fn make_dirs(path: &Path, mode: u32) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(mode).create(path)
}

fn read_boot(path: &Path) -> io::Result<Option<Boot>> {
    match std::fs::read(path.join("boot")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .inspect_err(|error| warn!(%error, "the data directory's file `boot` is damaged: taken for a loss of power"))
            .ok()
            .or(Some(Boot { id: String::new(), clean: false, power_cuts: seconds(), records: false, doubt: false }))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A count that is past any other: what a damaged file cannot tell must not fall.
fn seconds() -> u32 {
    u32::try_from(since_epoch().as_secs()).unwrap_or(u32::MAX / 2)
}

/// The kernel's own name for the time since the machine started; where there is none, every start is taken for a new one.
fn machine_boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
        |_| uuid::Uuid::new_v4().to_string(),
        |id| id.trim().to_owned(),
    )
}

fn next_boot(before: Option<Boot>, id: &str) -> Boot {
    let lost = before
        .as_ref()
        .is_some_and(|before| !before.clean && before.id != id);
    // A loss of power may have taken the database's last records, and left their files.
    let records = before
        .as_ref()
        .is_some_and(|before| before.records && !lost);
    let doubt = before
        .as_ref()
        .is_some_and(|before| lost || (before.doubt && !before.records));
    let power_cuts = before.map_or(0, |before| before.power_cuts + u32::from(lost));
    Boot {
        id: id.to_owned(),
        clean: false,
        power_cuts,
        records,
        doubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: &str, clean: bool, power_cuts: u32) -> Boot {
        Boot {
            id: id.into(),
            clean,
            power_cuts,
            records: false,
            doubt: false,
        }
    }

    #[test]
    fn a_loss_of_power_is_an_unclean_end_under_another_boot() {
        assert_eq!(next_boot(None, "a"), boot("a", false, 0));
        assert_eq!(
            next_boot(Some(boot("a", false, 1)), "a"),
            boot("a", false, 1)
        );
        assert_eq!(
            next_boot(Some(boot("a", true, 1)), "b"),
            boot("b", false, 1)
        );
        assert_eq!(
            next_boot(Some(boot("a", false, 1)), "b"),
            Boot {
                doubt: true,
                ..boot("b", false, 2)
            }
        );
    }

    #[test]
    fn a_loss_of_power_is_known_until_every_upload_has_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let open = || DataDir::open(dir.path(), 0o755).unwrap();
        open().records_complete().unwrap();
        let boot = read_boot(dir.path()).unwrap().unwrap();
        let other = Boot {
            id: "another".to_owned(),
            ..boot
        };
        let other = serde_json::to_vec(&other).unwrap();
        std::fs::write(dir.path().join("boot"), other).unwrap();
        // A start that is killed before it has looked at everything leaves that to the next one.
        assert!(open().power_lost());
        let mut again = open();
        assert!(again.power_lost());
        again.records_complete().unwrap();
        drop(again);
        assert!(!open().power_lost());
        // Its records were not complete, but no power was lost.
        assert!(!open().power_lost());
    }

    #[test]
    fn one_process_at_a_time_and_a_clean_end_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path(), 0o755).unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), 0o755),
            Err(DirError::InUse(_))
        ));
        assert!(!read_boot(dir.path()).unwrap().unwrap().clean);
        held.close().unwrap();
        drop(held);
        assert!(read_boot(dir.path()).unwrap().unwrap().clean);
        std::fs::write(dir.path().join("boot"), "rubbish").unwrap();
        assert!(DataDir::open(dir.path(), 0o755).unwrap().power_cuts() > 1_000_000);
    }
}
