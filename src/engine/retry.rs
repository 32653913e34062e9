//! Storage errors that may pass by themselves, and how long a session's bytes wait for that.

use std::time::Duration;

use rustix::io::Errno;

use crate::blob::BlobError;

/// So long before each further try: not a second in all, which no client notices.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    [25, 50, 100, 200, 400]
        .map(Duration::from_millis)
        .into_iter()
}

/// Whether trying again makes sense: no space (something may be removed), too many open files or too little memory, a
/// system call that was interrupted. Not a disk that says it has lost something.
pub(super) fn may_pass(error: &BlobError) -> bool {
    match error {
        BlobError::Full => true,
        BlobError::Lost | BlobError::Fixed => false,
        BlobError::Io { source, .. } => matches!(
            Errno::from_io_error(source),
            Some(
                Errno::AGAIN
                    | Errno::INTR
                    | Errno::MFILE
                    | Errno::NFILE
                    | Errno::NOMEM
                    | Errno::NOBUFS
                    | Errno::BUSY
                    | Errno::TIMEDOUT
            )
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_waited_for_and_not_long() {
        assert!(pauses().sum::<Duration>() < Duration::from_secs(1));
        let io = |errno: Errno| BlobError::Io {
            path: "x".into(),
            source: errno.into(),
        };
        assert!(may_pass(&BlobError::Full) && may_pass(&io(Errno::NFILE)));
        for lasting in [
            BlobError::Lost,
            BlobError::Fixed,
            io(Errno::IO),
            io(Errno::ROFS),
        ] {
            assert!(!may_pass(&lasting), "{lasting}");
        }
    }
}
