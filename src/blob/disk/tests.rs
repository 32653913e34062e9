//! What the disk store does beyond the contract.

use super::*;

fn store(options: &DiskOptions) -> (DiskBlobs, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (DiskBlobs::open(dir.path(), options).unwrap(), dir)
}

mod in_the_pool {
    crate::blob::contract::suite!(super::store(&super::DiskOptions::default()));
}
