//! When a point is suspicious: it is much smaller than the newest trusted one before it. An
//! attacker, a bug or an unmounted disk empties things; people rarely do. Called when a backup is
//! made.

use model::id::{Address, Name};
use model::observed::{Observed, RepositoryObservation};
use model::receipt::Receipt;

/// Returns the receipt that a new point is compared with: the newest complete one that is not
/// itself suspicious, or was accepted by a person. A suspicious one would make the next one look
/// right that repeats its fault, and after a few of those the last trusted points would go.
pub fn newest_trusted<'o>(
    observed: &'o Observed,
    repository: &Name,
    address: &Address,
) -> Option<&'o Receipt> {
    let RepositoryObservation::Known { snapshots, .. } = observed.repositories.get(repository)?
    else {
        return None;
    };
    let accepted = &observed.memory.accepted_alarms;
    snapshots
        .iter()
        .filter(|info| info.address.as_ref() == Some(address))
        .filter_map(|info| Some((info, info.receipt.as_ref()?)))
        .filter(|(info, receipt)| {
            let trusted = || accepted.contains(&format!("suspicious:{}", info.id));
            receipt.complete && (receipt.suspicious.is_none() || trusted())
        })
        .map(|(_, receipt)| receipt)
        .max_by_key(|receipt| receipt.taken_at)
}

/// Says why a point is suspicious, if it fell by more than this many per cent in bytes or files.
pub fn suspicion(point: &Receipt, before: &Receipt, shrink_percent_max: u8) -> Option<String> {
    let keep_percent = 100_u128.saturating_sub(u128::from(shrink_percent_max));
    let fell =
        |now: u64, was: u64| was > 0 && u128::from(now) * 100 < u128::from(was) * keep_percent;
    if fell(point.bytes, before.bytes) {
        Some(format!("fell from {} to {} bytes", before.bytes, point.bytes))
    } else if fell(point.files, before.files) {
        Some(format!("fell from {} to {} files", before.files, point.files))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn a_suspicious_point_is_not_what_the_next_one_is_compared_with() {
        let world = World::shop()
            .point("local", "a1", "shop/files", ago(3), |r| r.bytes = 1000)
            .point("local", "a2", "shop/files", ago(2), |r| {
                r.bytes = 10;
                r.suspicious = Some("fell".into());
            })
            .point("local", "a3", "shop/files", ago(1), |r| r.complete = false);
        let before = |world: &World| {
            newest_trusted(&world.observed, &name("local"), &address("shop/files")).map(|r| r.bytes)
        };
        assert_eq!(before(&world), Some(1000));
        let accepted = world.with(|w| {
            let word = format!("suspicious:{}", snapshot("a2"));
            w.observed.memory.accepted_alarms.insert(word);
        });
        assert_eq!(before(&accepted), Some(10));
    }
}
