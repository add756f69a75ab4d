//! A bounded number of places for connections, of which one address cannot take all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Places, and who has them.
pub(super) struct Places {
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One place, given back when dropped.
pub(super) struct Place<'a> {
    places: &'a Places,
    holder: IpAddr,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// A quarter of the places, and one at least, stays for others.
    pub(super) fn most_per_address(&self) -> usize {
        (self.most - self.most.div_ceil(4)).max(1)
    }

    /// A place for a client; `None` if all are taken, or as many as its address may have.
    pub(super) fn take(&self, client: IpAddr) -> Option<Place<'_>> {
        let holder = holder(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&holder).copied().unwrap_or(0);
        if own >= self.most_per_address() || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(holder, own + 1);
        Some(Place { places: self, holder })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.holder) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.holder);
            }
        }
    }
}

/// Who is counted: the address, or its network of 64 bits, all of which one host with IPv6 may use.
fn holder(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever comes and goes: never more than all, never more than its share for one, always room for another.
        #[test]
        fn bounds_hold_whoever_comes_and_goes(most in 1_usize..20, visits in prop::collection::vec((0_u8..4, any::<bool>()), 0..200)) {
            let places = Places::new(most);
            let mut held: Vec<(u8, Place<'_>)> = Vec::new();
            for (client, comes) in visits {
                let own = held.iter().filter(|(holder, _)| *holder == client).count();
                if !comes {
                    held.pop();
                    continue;
                }
                let place = places.take(IpAddr::from([10, 0, 0, client]));
                prop_assert_eq!(place.is_some(), own < places.most_per_address() && held.len() < most);
                held.extend(place.map(|place| (client, place)));
            }
            prop_assert!(most == 1 || places.most_per_address() < most);
            drop(held);
            prop_assert!(places.taken.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn a_host_with_many_addresses_is_one() {
        let places = Places::new(4);
        let held: Vec<_> = (0..5).map(|host| places.take(format!("2001:db8::{host}").parse().unwrap())).collect();
        assert_eq!(held.iter().flatten().count(), places.most_per_address());
        let other = places.take("2001:db8:0:1::1".parse().unwrap());
        assert!(other.is_some());
        let mapped = [places.take("::ffff:10.0.0.1".parse().unwrap()), places.take("10.0.0.1".parse().unwrap())];
        assert_eq!(mapped.iter().flatten().count(), 0, "all four are taken");
    }
}
