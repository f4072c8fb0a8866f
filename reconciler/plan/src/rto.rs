//! Whether a resource comes back as fast as was promised, judged from restores that were made and
//! measured. What was never measured is unknown, and unknown is not kept. Called by `status`.
//! Semantics: `docs/semantics.md`, "Objectives".

use model::id::Address;
use model::observed::MeasuredRestore;
use serde::{Deserialize, Serialize};

use crate::render::{bytes, duration};
use crate::status::Verdict;
use crate::view::View;

/// How long a restore takes against what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtoReport {
    /// How long it may take, in seconds.
    pub wanted_s: u64,
    /// The last whole restore that was measured.
    pub measured: Option<MeasuredRestore>,
    /// How long the newest proven point would take at that speed, in seconds.
    pub expected_s: Option<u64>,
    /// Whether the promise is kept.
    pub verdict: Verdict,
    /// The cheapest mend, when it is not.
    pub mend: Option<String>,
}

/// Judges how long a resource takes to come back; `None`: nothing was promised.
pub(crate) fn rto(view: &View<'_>, address: &Address) -> Option<RtoReport> {
    let wanted_s = view.desired.resources.get(address)?.objectives.rto_s?;
    let measured = view.observed.memory.restores.iter().find(|(of, _)| view.same(of, address));
    let Some((_, measured)) = measured else {
        let mend = "bring it back once into another place (a Recovery with `into`): how long that \
                    takes is measured";
        return Some(RtoReport {
            wanted_s,
            measured: None,
            expected_s: None,
            verdict: Verdict::Unknown,
            mend: Some(mend.to_owned()),
        });
    };
    let newest = view.newest_proven(address).and_then(|point| point.receipt()).map(|r| r.bytes);
    let expected_s = expected(measured, newest.unwrap_or(measured.bytes));
    let kept = expected_s <= wanted_s;
    let mend = (!kept).then(|| {
        format!(
            "promise {} or more: {} from {} took {}; or name a faster repository first in its \
             Backup and bring it back once from there",
            duration(expected_s),
            bytes(measured.bytes),
            measured.repository,
            duration(measured.seconds)
        )
    });
    Some(RtoReport {
        wanted_s,
        measured: Some(measured.clone()),
        expected_s: Some(expected_s),
        verdict: if kept { Verdict::Kept } else { Verdict::Violated },
        mend,
    })
}

/// What was measured, stretched to more bytes; never less than what was measured, because a part of
/// each restore does not depend on them.
fn expected(measured: &MeasuredRestore, bytes: u64) -> u64 {
    if bytes <= measured.bytes {
        return measured.seconds;
    }
    if measured.bytes == 0 {
        return u64::MAX;
    }
    let stretched = u128::from(measured.seconds) * u128::from(bytes);
    u64::try_from(stretched.div_ceil(u128::from(measured.bytes))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn world(rto_s: u64) -> World {
        World::protected().with(|w| {
            let resource = w.desired.resources.get_mut(&address("shop/files")).unwrap();
            resource.objectives.rto_s = Some(rto_s);
        })
    }

    fn measured(world: World, seconds: u64, bytes: u64) -> World {
        world.with(|w| {
            let repository = name("local");
            let snapshot = snapshot("a1");
            let restore = MeasuredRestore { repository, snapshot, at: ago(1), seconds, bytes };
            w.observed.memory.restores.insert(address("shop/files"), restore);
        })
    }

    fn of(world: &World) -> Option<RtoReport> {
        let view = View::new(&world.desired, &world.observed, world.now);
        rto(&view, &address("shop/files"))
    }

    fn newest_bytes(world: &World) -> u64 {
        let view = View::new(&world.desired, &world.observed, world.now);
        let newest = view.newest_proven(&address("shop/files")).unwrap();
        newest.receipt().unwrap().bytes
    }

    #[test]
    fn what_was_never_measured_is_not_kept() {
        assert_eq!(of(&World::protected()), None, "nothing was promised");
        let report = of(&world(3600)).unwrap();
        assert_eq!((report.verdict, report.expected_s), (Verdict::Unknown, None));
        assert!(report.mend.unwrap().contains("into"));
    }

    #[test]
    fn a_measured_restore_is_held_against_the_promise() {
        let bytes = newest_bytes(&world(1));
        let kept = of(&measured(world(60), 60, bytes)).unwrap();
        assert_eq!((kept.verdict, kept.expected_s, kept.mend), (Verdict::Kept, Some(60), None));
        let late = of(&measured(world(59), 60, bytes)).unwrap();
        assert_eq!(late.verdict, Verdict::Violated);
        assert!(late.mend.unwrap().starts_with("promise 1 min or more"));
    }

    #[test]
    fn more_bytes_take_longer_and_fewer_no_less() {
        let bytes = newest_bytes(&world(1));
        assert_eq!(of(&measured(world(60), 10, bytes.div_ceil(4))).unwrap().expected_s, Some(40));
        assert_eq!(of(&measured(world(60), 10, bytes * 4)).unwrap().expected_s, Some(10));
        assert_eq!(of(&measured(world(60), 10, 0)).unwrap().expected_s, Some(u64::MAX));
    }
}
