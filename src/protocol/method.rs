//! The method, and `X-HTTP-Method-Override`.

use http::{HeaderMap, Method};

use super::{one, trim};

/// The header's name.
pub const OVERRIDE: &str = "X-HTTP-Method-Override";

/// A method that tus knows. All others are 405.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TusMethod {
    /// What the server can do.
    Options,
    /// Creates.
    Post,
    /// Tells the offset.
    Head,
    /// Appends.
    Patch,
    /// Terminates.
    Delete,
    /// Downloads.
    Get,
}

impl TusMethod {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Options,
        Self::Post,
        Self::Head,
        Self::Patch,
        Self::Delete,
        Self::Get,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Head => "HEAD",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Get => "GET",
        }
    }
}

/// What the request asks for; `None` (405) if that is no method of tus.
///
/// `X-HTTP-Method-Override` counts on POST alone, since clients use it where their own stack or a proxy lets nothing else
/// through, and a GET that deletes would be a hole. It may name any method of tus, in any case; what names none, or is
/// repeated or empty, is 405: doing a POST in its place would create an upload that nobody asked for.
/// Source: tus 1.0.0, core protocol, Headers, `X-HTTP-Method-Override`.
#[must_use]
pub fn effective(method: &http::Method, headers: &HeaderMap) -> Option<TusMethod> {
    let all = || TusMethod::ALL.into_iter();
    if *method == Method::POST
        && let Some(target) = one(headers, OVERRIDE).ok()?
    {
        let target = trim(target.as_bytes());
        return all().find(|known| target.eq_ignore_ascii_case(known.name().as_bytes()));
    }
    all().find(|known| method.as_str() == known.name())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any_value, head};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_post_stands_for_any_method() {
        for method in TusMethod::ALL {
            let name = method.name();
            let capital = format!("{}{}", &name[..1], name[1..].to_lowercase());
            for spelling in [name, &capital, &name.to_lowercase(), &format!(" {name}\t")] {
                let headers = head(&[("x-http-method-override", spelling)]);
                assert_eq!(
                    effective(&Method::POST, &headers),
                    Some(method),
                    "{spelling:?}"
                );
            }
        }
    }

    #[test]
    fn an_override_of_nothing_known_is_no_post() {
        let huge = "PATCH".repeat(10_000);
        for bad in [
            "",
            "PUT",
            "TRACE",
            "PATCH,PATCH",
            "PATC",
            "PATCHES",
            "PA TCH",
            "\u{e9}",
            &huge,
        ] {
            assert_eq!(
                effective(&Method::POST, &head(&[(OVERRIDE, bad)])),
                None,
                "{bad:?}"
            );
        }
        let twice = head(&[(OVERRIDE, "PATCH"), (OVERRIDE, "PATCH")]);
        assert_eq!(effective(&Method::POST, &twice), None);
    }

    #[test]
    fn other_methods_stand_for_themselves() {
        let overridden = head(&[(OVERRIDE, "DELETE")]);
        for method in TusMethod::ALL {
            let plain = Method::from_bytes(method.name().as_bytes()).unwrap();
            assert_eq!(effective(&plain, &HeaderMap::new()), Some(method));
            if method != TusMethod::Post {
                assert_eq!(effective(&plain, &overridden), Some(method));
            }
        }
        for unknown in ["PUT", "TRACE", "CONNECT", "patch", "Post", "BREW"] {
            let unknown = Method::from_bytes(unknown.as_bytes()).unwrap();
            assert_eq!(effective(&unknown, &HeaderMap::new()), None);
            assert_eq!(effective(&unknown, &overridden), None);
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in any_value()) {
            let headers = HeaderMap::from_iter([(OVERRIDE.parse().unwrap(), value)]);
            let _ = effective(&Method::POST, &headers);
            prop_assert_eq!(effective(&Method::GET, &headers), Some(TusMethod::Get));
        }
    }
}
