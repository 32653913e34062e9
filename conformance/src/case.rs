//! A clause of a specification, and how to see on the wire whether a server keeps it.

use std::fmt;

use crate::client::Client;
use crate::reference::Fault;
use crate::wire::WireError;

/// How binding a clause is (RFC 2119).
///
/// What the specification allows a *client* binds a server that offers the extension: such a clause is a `Must` here, though
/// its sentence says MAY. A `May` is a choice of the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Broken, it is a failure.
    Must,
    /// Broken, it is a warning.
    Should,
    /// Not done, it is skipped.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// What a server has to offer before a case can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// An extension of tus that is named in `Tus-Extension`.
    Extension(&'static str),
    /// `Tus-Max-Size`.
    MaxSize,
    /// `Tus-Max-Size` of at most 16 MiB, so that a case can go past it.
    SmallMaxSize,
    /// GET of a complete upload gives its bytes.
    Download,
    /// Any field of CORS.
    Cors,
}

/// Why a case did not pass.
#[derive(Debug)]
pub enum Stop {
    /// The clause is broken, and how that showed.
    Broken(String),
    /// Nothing can be said, and why.
    Skip(String),
}

/// What became of trying a case.
pub type Outcome = Result<(), Stop>;

/// No answer where the clause asks for one breaks it.
impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Breaks the clause with `why` unless `kept`.
///
/// # Errors
/// `Broken`.
pub fn ensure(kept: bool, why: impl Into<String>) -> Outcome {
    if kept {
        Ok(())
    } else {
        Err(Stop::Broken(why.into()))
    }
}

/// One clause and its test.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// `group.subject.what`: the group is a file of [`crate::cases`].
    pub id: &'static str,
    /// How binding the clause is.
    pub level: Level,
    /// Specification and section: `tus 1.0.0, Core Protocol, PATCH`; `RFC 9112, 6.3`.
    pub section: &'static str,
    /// The sentence, or the part of it that is tested, word for word. A distinct one is a distinct clause.
    pub clause: &'static str,
    /// What has to be there.
    pub needs: &'static [Need],
    /// What in the reference server makes this case fail.
    pub fault: Option<Fault>,
    /// Takes seconds, so it begins first.
    pub slow: bool,
    /// Is known to bring a fragile server down, so it is tried when the others are done, and alone.
    pub risky: bool,
    /// The test.
    pub run: fn(&Client<'_>) -> Outcome,
}

/// A clause that binds.
#[must_use]
pub const fn must(
    id: &'static str,
    section: &'static str,
    clause: &'static str,
    fault: Fault,
    run: fn(&Client<'_>) -> Outcome,
) -> Case {
    Case {
        fault: Some(fault),
        ..case(id, Level::Must, section, clause, run)
    }
}

/// A clause that a server should keep.
#[must_use]
pub const fn should(
    id: &'static str,
    section: &'static str,
    clause: &'static str,
    run: fn(&Client<'_>) -> Outcome,
) -> Case {
    case(id, Level::Should, section, clause, run)
}

/// A clause that is the server's choice.
#[must_use]
pub const fn may(
    id: &'static str,
    section: &'static str,
    clause: &'static str,
    run: fn(&Client<'_>) -> Outcome,
) -> Case {
    case(id, Level::May, section, clause, run)
}

const fn case(
    id: &'static str,
    level: Level,
    section: &'static str,
    clause: &'static str,
    run: fn(&Client<'_>) -> Outcome,
) -> Case {
    Case {
        id,
        level,
        section,
        clause,
        needs: &[],
        fault: None,
        slow: false,
        risky: false,
        run,
    }
}

impl Case {
    /// With what a server has to offer.
    #[must_use]
    pub const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    /// With what makes it fail, for a case that is no MUST.
    #[must_use]
    pub const fn fault(self, fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..self
        }
    }

    /// One that takes seconds.
    #[must_use]
    pub const fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    /// One that a fragile server may not survive.
    #[must_use]
    pub const fn risky(self) -> Self {
        Self {
            risky: true,
            ..self
        }
    }

    /// The first part of the id.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }
}
