//! What an operator decides.

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged things survive `kill -9` of the server.
    Process,
    /// As well, an upload acknowledged as complete survives a power cut.
    Complete,
    /// As well, each acknowledged offset does.
    Every,
}
