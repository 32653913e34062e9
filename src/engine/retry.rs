//! Storage errors that may pass by themselves, and how long a session's bytes wait for that.

use std::fmt::Display;
use std::time::Duration;

use rustix::io::Errno;
use tracing::warn;

use crate::blob::BlobError;
use crate::error::Reject;
use crate::upload::UploadId;

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
        BlobError::Lost | BlobError::Fixed | BlobError::Taken { .. } => false,
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

/// The same of a write, whose bytes nobody was told of: they may also be written once more where the disk has failed at them.
pub(super) fn write_may_pass(error: &BlobError) -> bool {
    let failed = |source| Errno::from_io_error(source) == Some(Errno::IO);
    may_pass(error) || matches!(error, BlobError::Io { source, .. } if failed(source))
}

/// The same of a sync: no space there means bytes that the kernel has given up, and the next sync would call itself a success.
pub(super) fn sync_may_pass(error: &BlobError) -> bool {
    may_pass(error) && !matches!(error, BlobError::Full)
}

/// The same of what is refused for it.
pub(super) fn refusal_may_pass(reject: &Reject) -> bool {
    matches!(reject, Reject::Blob(error) if may_pass(error))
}

/// Does what can be done again without harm until it succeeds, its error will not pass, or patience is at its end.
pub(super) async fn patiently<T, E: Display, F: Future<Output = Result<T, E>>>(
    id: &UploadId,
    may_pass: fn(&E) -> bool,
    mut once: impl FnMut() -> F,
) -> Result<T, E> {
    let mut pauses = pauses();
    loop {
        let error = match once().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let Some(pause) = pauses.next().filter(|_| may_pass(&error)) else {
            return Err(error);
        };
        warn!(%id, %error, ?pause, "storage is tried again");
        tokio::time::sleep(pause).await;
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
        assert!(!sync_may_pass(&BlobError::Full));
        for lasting in [
            BlobError::Lost,
            BlobError::Fixed,
            io(Errno::IO),
            io(Errno::ROFS),
        ] {
            assert!(!may_pass(&lasting), "{lasting}");
        }
        assert!(write_may_pass(&io(Errno::IO)) && write_may_pass(&BlobError::Full));
        assert!(!sync_may_pass(&io(Errno::IO)) && !write_may_pass(&io(Errno::ROFS)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_done_again_is() {
        let id: UploadId = "a".parse().unwrap();
        let tries = std::cell::Cell::new(0);
        let once = || {
            tries.set(tries.get() + 1);
            let done = tries.get() == 4;
            async move { if done { Ok(()) } else { Err(BlobError::Full) } }
        };
        assert!(patiently(&id, may_pass, once).await.is_ok());
        assert_eq!(tries.get(), 4);
        tries.set(4);
        assert!(patiently(&id, may_pass, once).await.is_err());
        assert_eq!(tries.get(), 10, "and not for ever");
        assert!(patiently(&id, sync_may_pass, once).await.is_err());
        assert_eq!(tries.get(), 11);
    }
}
