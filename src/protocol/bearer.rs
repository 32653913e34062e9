//! `Authorization: Bearer`.

use http::HeaderMap;

use super::one;

/// The token that the request bears; `None` if there is none, or more than one, or another scheme.
/// Source: RFC 6750, 2.1; RFC 9110, 11.1: the scheme is read without regard to case.
#[must_use]
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let value = one(headers, "Authorization").ok()??;
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::super::testing::head;
    use super::*;

    #[test]
    fn one_token_by_one_scheme() {
        for (value, wanted) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(token(&head(&[("Authorization", value)])), wanted, "{value}");
        }
        let two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
        assert_eq!(token(&head(&two)), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
