//! The query of a URL: each parameter once, and none that nobody knows, since a misspelt filter would show what it was to hide.

use percent_encoding::percent_decode_str;

use crate::error::Reject;

/// The longest page of a list.
const MOST: u64 = 1000;
/// A page whose length nobody names.
const USUAL: u64 = 100;

/// Parameters that are still to be taken.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, Reject> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if found.iter().any(|(known, _)| *known == name) {
                return Err(Reject::Query("a parameter", "twice"));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// The value of this parameter, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A number within bounds.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        bounds: std::ops::RangeInclusive<u64>,
        what: &'static str,
    ) -> Result<Option<u64>, Reject> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|n| digits && bounds.contains(n));
        number.map(Some).ok_or(Reject::Query(name, what))
    }

    /// How long a page of a list is to be.
    pub(super) fn limit(&mut self) -> Result<usize, Reject> {
        let limit = self.number("limit", 1..=MOST, "1 to 1000")?;
        Ok(usize::try_from(limit.unwrap_or(USUAL)).unwrap_or(1))
    }

    /// That nothing is left.
    pub(super) fn end(self) -> Result<(), Reject> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Reject::Query(
                "a parameter",
                "this resource has no such one",
            ))
        }
    }
}

fn decoded(text: &str) -> Result<String, Reject> {
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8();
    text.map(String::from)
        .map_err(|_| Reject::Query("a parameter", "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_once_each() {
        let mut query = Query::parse("a=1&&b=x%2Cy+z&c").unwrap();
        assert_eq!(query.number("a", 0..=1, "").unwrap(), Some(1));
        assert_eq!(query.take("a"), None);
        assert_eq!(query.take("b").as_deref(), Some("x,y z"));
        assert_eq!(query.take("c").as_deref(), Some(""));
        assert!(query.end().is_ok());
        assert!(Query::parse("a=1&%61=2").is_err() && Query::parse("a=%ff").is_err());
        assert!(Query::parse("a=1").unwrap().end().is_err());
        for bad in ["", "2", "-1", "+1", "1.0", "18446744073709551616"] {
            let mut query = Query::parse(&format!("a={}", bad.replace('+', "%2B"))).unwrap();
            assert!(query.number("a", 0..=1, "").is_err(), "{bad}");
        }
    }
}
