//! The files that are embedded, and where each is served.

/// A file.
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) media: &'static str,
    /// Pages of every origin may load it: the client module and what it is made of.
    pub(super) shared: bool,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The upload page, before the server has filled in what it knows.
pub(super) const PAGE: &str = include_str!("upload.html");

macro_rules! file {
    ($path:literal, $file:literal, $media:expr) => {
        File {
            path: $path,
            bytes: include_bytes!($file),
            media: $media,
            shared: false,
        }
    };
}

macro_rules! shared {
    ($path:literal, $file:literal) => {
        File {
            shared: true,
            ..file!($path, $file, SCRIPT)
        }
    };
}

/// All of them.
pub(super) static FILES: &[File] = &[
    file!("/", "upload.html", HTML),
    file!("/web/upload.js", "upload.js", SCRIPT),
    file!("/web/upload.css", "upload.css", STYLE),
    file!("/web/row.js", "row.js", SCRIPT),
    file!("/web/sign-in.js", "sign-in.js", SCRIPT),
    file!("/web/token.js", "token.js", SCRIPT),
    file!("/web/words.js", "words.js", SCRIPT),
    file!("/admin", "admin.html", HTML),
    file!("/web/admin.js", "admin.js", SCRIPT),
    file!("/web/admin.css", "admin.css", STYLE),
    file!("/web/admin-api.js", "admin-api.js", SCRIPT),
    file!("/web/admin-dialogs.js", "admin-dialogs.js", SCRIPT),
    file!("/web/admin-filters.js", "admin-filters.js", SCRIPT),
    file!("/web/admin-panels.js", "admin-panels.js", SCRIPT),
    file!("/web/admin-plot.js", "admin-plot.js", SCRIPT),
    file!("/web/admin-table.js", "admin-table.js", SCRIPT),
    file!("/web/admin-words.js", "admin-words.js", SCRIPT),
    shared!("/web/highwater.js", "highwater.js"),
    shared!("/web/errors.js", "errors.js"),
    shared!("/web/hash.js", "hash.js"),
    shared!("/web/ledger.js", "ledger.js"),
    shared!("/web/live.js", "live.js"),
    shared!("/web/patience.js", "patience.js"),
    shared!("/web/policy.js", "policy.js"),
    shared!("/web/session.js", "session.js"),
    shared!("/web/sha256.js", "sha256.js"),
    shared!("/web/store.js", "store.js"),
    shared!("/web/transport.js", "transport.js"),
    shared!("/web/unfinished.js", "unfinished.js"),
    shared!("/web/worker.js", "worker.js"),
];
