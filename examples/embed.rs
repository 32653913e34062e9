//! A program that takes uploads: the server runs inside it, and it looks at what arrived.
//!
//! ```sh
//! cargo run --example embed
//! ```

use std::error::Error;
use std::path::Path;

use highwater::config::Config;
use highwater::server;

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config {
        port: 8081,
        upload_dir: "./embed-data".into(),
        max_size: 100 << 20,
        ..Config::default()
    };
    // The server's own runtime has as many workers as it wants; in a runtime of your own it works too.
    server::main_runtime()?.block_on(async {
        let data = config.upload_dir.clone();
        let running = server::start(config).await?;
        println!("Send uploads to {} and end with Ctrl-C.", running.url());
        tokio::signal::ctrl_c().await?;
        running.stop();
        running.wait().await;
        println!(
            "{} files lie in {}.",
            count(&data.join("files"))?,
            data.display()
        );
        Ok(())
    })
}

/// Files in the shards below `dir`.
fn count(dir: &Path) -> std::io::Result<usize> {
    let mut files = 0;
    for shard in std::fs::read_dir(dir)? {
        files += std::fs::read_dir(shard?.path())?.count();
    }
    Ok(files)
}
