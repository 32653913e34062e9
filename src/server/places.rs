//! How many connections an address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::address::subscriber;
use crate::security::auth::Peer;

/// Connections by address; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The most of one; 0 for no limit.
    most: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place(Option<(Places, IpAddr)>);

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more; `None`: there are as many as there may be. What has no address is not counted.
    pub(super) fn take(&self, peer: Option<Peer>) -> Option<Place> {
        let Some(Peer::Address(address)) = peer.filter(|_| self.most > 0) else {
            return Some(Place(None));
        };
        let address = subscriber(address.ip());
        let mut taken = self.taken();
        let count = taken.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place(Some((self.clone(), address))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((places, address)) = self.0.take() else {
            return;
        };
        let mut taken = places.taken();
        if let Some(count) = taken.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn an_address_has_so_many_and_forgets_them() {
        let from = |text: &str| Some(Peer::Address(SocketAddr::new(text.parse().unwrap(), 9)));
        let places = Places::new(2);
        let first = places.take(from("192.0.2.1")).unwrap();
        let second = places.take(from("::ffff:192.0.2.1")).unwrap();
        assert!(places.take(from("192.0.2.1")).is_none());
        assert!(places.take(from("192.0.2.2")).is_some());
        assert!(places.take(Some(Peer::Local)).is_some() && places.take(None).is_some());
        drop(first);
        let third = places.take(from("192.0.2.1"));
        assert!(third.is_some() && places.take(from("192.0.2.1")).is_none());
        drop((second, third));
        assert!(places.taken().is_empty());
        let all = Places::new(0);
        let many: Vec<_> = (0..100).map(|_| all.take(from("192.0.2.1"))).collect();
        assert!(many.iter().all(Option::is_some) && all.taken().is_empty());
    }
}
