//! `Tus-Resumable`.

use http::HeaderMap;

/// The header's name.
pub const NAME: &str = "Tus-Resumable";

/// The version spoken here: `Tus-Resumable` on every answer, and the whole of `Tus-Version`.
pub const VERSION: &str = "1.0.0";

/// The client speaks another version of tus, or none: 412 with `Tus-Version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("send Tus-Resumable: {VERSION}")]
pub struct Unsupported;

/// Whether the client speaks [`VERSION`]. Where the header is not `required` (OPTIONS, and the lenient HEAD and GET) it may
/// be missing, but not be another.
///
/// # Errors
/// `Unsupported`; a repeated header is that too, even with equal values.
/// Source: tus 1.0.0, core protocol, Headers, `Tus-Resumable` and `Tus-Version`.
pub fn check(headers: &HeaderMap, required: bool) -> Result<(), Unsupported> {
    let mut all = headers.get_all(NAME).iter();
    match (all.next(), all.next()) {
        (None, _) if !required => Ok(()),
        (Some(version), None) if version.as_bytes() == VERSION.as_bytes() => Ok(()),
        _ => Err(Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions() {
        assert_eq!(check(&HeaderMap::new(), false), Ok(()));
        assert_eq!(check(&HeaderMap::new(), true), Err(Unsupported));
        for required in [false, true] {
            assert_eq!(
                check(&head(&[("tus-resumable", "1.0.0")]), required),
                Ok(())
            );
            for other in [
                "",
                "1",
                "1.0",
                "1.0.0 ",
                "1.0.1",
                "0.2.2",
                "1.0.0,1.0.0",
                "v1.0.0",
                "\u{e9}",
            ] {
                assert_eq!(
                    check(&head(&[(NAME, other)]), required),
                    Err(Unsupported),
                    "{other:?}"
                );
            }
            let huge = head(&[(NAME, "1".repeat(60_000))]);
            assert_eq!(check(&huge, required), Err(Unsupported));
            for second in ["1.0.0", "0.2.2"] {
                let twice = head(&[(NAME, "1.0.0"), (NAME, second)]);
                assert_eq!(check(&twice, required), Err(Unsupported));
            }
        }
    }

    proptest! {
        #[test]
        fn one_version_only(value in any_value(), required: bool) {
            let good = value.as_bytes() == b"1.0.0";
            let headers = HeaderMap::from_iter([(NAME.parse().unwrap(), value)]);
            prop_assert_eq!(check(&headers, required).is_ok(), good);
        }
    }
}
