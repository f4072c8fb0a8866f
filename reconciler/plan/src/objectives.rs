//! Whether the copies of a resource are what was promised: 3-2-1-1-0, judged from the copies that
//! were observed and where the documents say that they lie. What is not known does not count.
//! Called by `status`. Semantics: `docs/semantics.md`, "Objectives".

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use model::desired::{FailureDomain, Objectives, RepositorySpec};
use model::id::{Address, Name, TargetRef};
use model::plan::Condition;
use serde::{Deserialize, Serialize};

use crate::status::Verdict;
use crate::view::{PointRef, View};

/// The format of every stored copy that this version makes.
const FORMAT: &str = "restic";

/// One copy, the live data or a repository's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// The repository; `None`: the live data.
    pub repository: Option<Name>,
    /// It counts as a copy.
    pub counts: bool,
    /// Why it does not, or what is not known of it.
    pub detail: Option<String>,
    /// Where it lies, as the documents say.
    pub domain: FailureDomain,
    /// On what.
    pub medium: Option<String>,
    /// In which format; `None` for live data.
    pub format: Option<String>,
    /// It is immutable or offline.
    pub locked: bool,
    /// What its password is called: who has it reads all copies under it.
    pub key: Option<String>,
}

/// What is promised of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CopiesRule {
    /// So many copies, the live data included.
    Total,
    /// Stored on so many different media.
    Media,
    /// Stored in so many different formats.
    Formats,
    /// So many at another site than the live data.
    Offsite,
    /// So many immutable or offline.
    Immutable,
    /// None whose newest point is not proven.
    Unproven,
}

/// One promise and what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopiesVerdict {
    /// Which.
    pub rule: CopiesRule,
    /// How many are promised; at most so many for `unproven`.
    pub wanted: u32,
    /// How many there are, of which all is known.
    pub have: u32,
    /// Whether it is kept.
    pub verdict: Verdict,
}

/// The copies of a resource against what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopiesReport {
    /// The live data first, then by repository as the documents name them.
    pub copies: Vec<Copy>,
    /// The promises, in the order of 3-2-1-1-0.
    pub rules: Vec<CopiesVerdict>,
    /// What all counted stored copies have in common: lost with it, they are all lost.
    pub shared: Vec<String>,
    /// The cheapest way to mend the first promise that is not kept.
    pub mend: Option<String>,
}

impl CopiesReport {
    /// Returns the worst verdict.
    pub fn verdict(&self) -> Verdict {
        self.rules.iter().map(|rule| rule.verdict).max().unwrap_or(Verdict::NoObjective)
    }
}

/// Judges the copies of a resource; `None`: nothing was promised.
pub(crate) fn copies(
    view: &View<'_>,
    address: &Address,
    condition: &Condition,
) -> Option<CopiesReport> {
    let resource = view.desired.resources.get(address)?;
    let wanted = &resource.objectives;
    wanted.copies?;
    let stored: Vec<Stored<'_>> = view
        .repositories_of(address)
        .into_iter()
        .filter_map(|name| Some(stored(view, address, view.desired.repositories.get(name)?)))
        .collect();
    let live = live(view, address, condition);
    let rules = rules(wanted, &live, &stored);
    let first = rules.iter().find(|rule| rule.verdict != Verdict::Kept);
    let mend = first.map(|rule| mend(view, address, &live, &stored, rule.rule));
    let shared = shared(&stored);
    let copies = [live].into_iter().chain(stored.into_iter().map(|stored| stored.copy)).collect();
    Some(CopiesReport { copies, rules, shared, mend })
}

fn live(view: &View<'_>, address: &Address, condition: &Condition) -> Copy {
    let target = view.desired.resources.get(address).map(|resource| &resource.target);
    let host = match target {
        Some(TargetRef::Host(name)) => view.desired.hosts.get(name),
        _ => None,
    };
    let counts = matches!(
        condition,
        Condition::Healthy | Condition::NeverProtected | Condition::AwaitingCommit { .. }
    );
    Copy {
        repository: None,
        counts,
        detail: (!counts).then(|| format!("it is {}", condition.word())),
        domain: host.map(|host| host.failure_domain.clone()).unwrap_or_default(),
        medium: None,
        format: None,
        locked: false,
        key: None,
    }
}

/// A stored copy and what stands between it and being counted.
struct Stored<'a> {
    spec: &'a RepositorySpec,
    copy: Copy,
    gap: Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    None,
    /// It could not be read.
    Unread,
    /// A point that is young enough is not proven.
    Unproven,
    /// No point is young enough.
    Old,
}

fn stored<'a>(view: &View<'a>, address: &Address, spec: &'a RepositorySpec) -> Stored<'a> {
    let name = &spec.name;
    let rpo_s = view.desired.resources.get(address).and_then(|r| r.objectives.rpo_s);
    let young = |p: &PointRef<'_>| {
        let age = u64::try_from(view.now.duration_since(p.taken_at()).as_secs()).unwrap_or(0);
        view.is_good(p) && rpo_s.is_none_or(|rpo| age <= rpo)
    };
    let gap = if view.repository_id(name).is_none() {
        Gap::Unread
    } else if view.points_in(address, name).any(|p| young(&p) && p.proven) {
        Gap::None
    } else if view.points_in(address, name).any(|p| young(&p)) {
        Gap::Unproven
    } else {
        Gap::Old
    };
    let detail = match gap {
        Gap::None => None,
        Gap::Unread => Some("the repository could not be read".to_owned()),
        Gap::Unproven => Some("no point that is young enough is proven".to_owned()),
        Gap::Old => Some("there is no point that is young enough".to_owned()),
    };
    let copy = Copy {
        repository: Some(name.clone()),
        counts: gap == Gap::None,
        detail,
        domain: spec.failure_domain.clone(),
        medium: spec.medium.clone(),
        format: Some(FORMAT.to_owned()),
        locked: spec.immutable || spec.offline,
        key: Some(spec.password.0.clone()),
    };
    Stored { spec, copy, gap }
}

fn rules(wanted: &Objectives, live: &Copy, stored: &[Stored<'_>]) -> Vec<CopiesVerdict> {
    let counted: Vec<&Copy> = stored.iter().map(|s| &s.copy).filter(|copy| copy.counts).collect();
    let unread = stored.iter().filter(|s| s.gap == Gap::Unread).count();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut rules = Vec::new();
    // What could not be read, or of which something is not said, might be enough and is not known
    // to be.
    let mut judge = |rule, wanted: Option<u32>, have: usize, unknown: usize| {
        let Some(wanted) = wanted else { return };
        let verdict = match () {
            () if number(have) >= wanted => Verdict::Kept,
            () if number(have + unknown) >= wanted => Verdict::Unknown,
            () => Verdict::Violated,
        };
        rules.push(CopiesVerdict { rule, wanted, have: number(have), verdict });
    };
    let total = counted.len() + usize::from(live.counts);
    judge(CopiesRule::Total, wanted.copies, total, unread);
    let media: BTreeSet<&String> = counted.iter().filter_map(|c| c.medium.as_ref()).collect();
    let silent = counted.iter().filter(|c| c.medium.is_none()).count();
    judge(CopiesRule::Media, wanted.media, media.len(), silent + unread);
    let formats: BTreeSet<&String> = counted.iter().filter_map(|c| c.format.as_ref()).collect();
    judge(CopiesRule::Formats, wanted.formats, formats.len(), 0);
    let away = |copy: &&&Copy| is_away(live, &copy.domain) == Some(true);
    let unsaid = |copy: &&&Copy| is_away(live, &copy.domain).is_none();
    let offsite = counted.iter().filter(away).count();
    let unknown = counted.iter().filter(unsaid).count();
    judge(CopiesRule::Offsite, wanted.offsite, offsite, unknown + unread);
    let locked = counted.iter().filter(|copy| copy.locked).count();
    judge(CopiesRule::Immutable, wanted.immutable, locked, unread);
    let unproven = stored.iter().filter(|s| s.gap == Gap::Unproven).count();
    rules.push(CopiesVerdict {
        rule: CopiesRule::Unproven,
        wanted: 0,
        have: number(unproven),
        verdict: if unproven > 0 { Verdict::Violated } else { Verdict::Kept },
    });
    rules
}

/// Whether a place is at another site than the live data; `None`: the documents do not say.
fn is_away(live: &Copy, domain: &FailureDomain) -> Option<bool> {
    Some(live.domain.site.as_ref()? != domain.site.as_ref()?)
}

/// What every counted stored copy fails together with.
fn shared(stored: &[Stored<'_>]) -> Vec<String> {
    let counted: Vec<&Copy> = stored.iter().map(|s| &s.copy).filter(|copy| copy.counts).collect();
    if counted.len() < 2 {
        return Vec::new();
    }
    let same = |of: fn(&Copy) -> Option<&String>| {
        let first = of(counted[0])?;
        counted.iter().all(|copy| of(copy) == Some(first)).then_some(first)
    };
    [
        ("site", same(|copy| copy.domain.site.as_ref())),
        ("host", same(|copy| copy.domain.host.as_ref())),
        ("account", same(|copy| copy.domain.account.as_ref())),
        ("credentials", same(|copy| copy.domain.credentials.as_ref())),
        ("password", same(|copy| copy.key.as_ref())),
    ]
    .into_iter()
    .filter_map(|(word, shared)| Some(format!("{word} {}", shared?)))
    .collect()
}

/// The cheapest mend: read again what is there; say what is not said; back up to where it goes
/// already; send it where something lies already; only then get another place.
fn mend(
    view: &View<'_>,
    address: &Address,
    live: &Copy,
    stored: &[Stored<'_>],
    rule: CopiesRule,
) -> String {
    let fits = |spec: &RepositorySpec| match rule {
        CopiesRule::Total | CopiesRule::Unproven | CopiesRule::Formats => true,
        CopiesRule::Media => {
            let has = |s: &Stored<'_>| s.copy.counts && s.copy.medium == spec.medium;
            spec.medium.is_some() && !stored.iter().any(has)
        }
        CopiesRule::Offsite => is_away(live, &spec.failure_domain) == Some(true),
        CopiesRule::Immutable => spec.immutable || spec.offline,
    };
    let gap = |gap: Gap| stored.iter().find(|s| s.gap == gap && fits(s.spec)).map(|s| &s.spec.name);
    if rule == CopiesRule::Formats {
        return "export it in another format: every stored copy is in restic's".to_owned();
    }
    if let Some(name) = gap(Gap::Unproven) {
        return format!("prove the newest point in {name}: set `verify.afterBackup` or verify it");
    }
    if rule == CopiesRule::Offsite && live.domain.site.is_none() {
        return "say in the Host's `failureDomain` at which site the live data lies".to_owned();
    }
    let silent = stored.iter().filter(|s| s.copy.counts).find(|s| match rule {
        CopiesRule::Offsite => s.spec.failure_domain.site.is_none(),
        CopiesRule::Media => s.spec.medium.is_none(),
        _ => false,
    });
    if let Some(silent) = silent {
        let field = if rule == CopiesRule::Media { "medium" } else { "failureDomain.site" };
        return format!("say in Repository {} what its `{field}` is", silent.spec.name);
    }
    if let Some(name) = gap(Gap::Unread) {
        return format!("make repository {name} readable again");
    }
    if let Some(name) = gap(Gap::Old) {
        return format!("back {address} up to {name} now, or more often");
    }
    let used = |name: &Name| stored.iter().any(|s| s.spec.name == *name);
    let other = view.desired.repositories.values().find(|spec| !used(&spec.name) && fits(spec));
    match (other, rule) {
        (Some(spec), _) => format!("add repository {} to its Backups", spec.name),
        (None, CopiesRule::Media) => "add a repository on another medium".to_owned(),
        (None, CopiesRule::Offsite) => "add a repository at another site".to_owned(),
        (None, CopiesRule::Immutable) => "add a repository that is immutable or offline".to_owned(),
        (None, _) if !live.counts => "bring the live data back".to_owned(),
        (None, _) => "add another repository".to_owned(),
    }
}
