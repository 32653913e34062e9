//! What a server meets that is out in the world: connections that break anywhere, clients that hang, crawl or race, an end
//! in the middle of the work. Against the real binary; seeds and figures are printed, and `tests/run --long` does more.

mod chaos;
mod descriptors;
mod history;
mod joins;
mod proxy;
mod races;
mod shutdown;
mod slow;
mod takeover;
mod uploader;
