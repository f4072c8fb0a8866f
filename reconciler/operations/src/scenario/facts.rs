//! Facts that a script states: how a resource is, which points there are, what our state remembers.
//! Each changes the scenario's world and prints nothing.

use std::collections::BTreeSet;

use model::Timestamp;
use model::desired::{Hold, Scope};
use model::digest::Digest;
use model::id::{Address, CommitId, Name, PlanId, RepositoryId, SnapshotId};
use model::observed::{
    Backoff, BackupRequest, Deed, RecoveryPhase, RecoveryRecord, SnapshotInfo, is_proven,
};
use model::plan::Wait;
use model::receipt::{
    Control, ControlBody, Evidence, EvidenceKind, ItemFailure, Marker, RECEIPT_VERSION, Receipt,
};

use super::state::{State, Thing};
use super::words::Words;

/// `world ADDRESS there|absent|empty|damaged|unknown …`.
pub(super) fn world(state: &mut State, mut words: Words) -> Result<(), String> {
    let address: Address = parse(&words.need("an address")?)?;
    let how = words.need("`there`, `absent`, `empty`, `damaged` or `unknown`")?;
    let mut thing = match how.as_str() {
        "there" => Thing::default(),
        // What only goes wrong is otherwise as it was.
        _ => state.resources.get(&address).cloned().unwrap_or_default(),
    };
    let mut detail = |default: &str| words.next().unwrap_or_else(|| default.to_owned());
    (thing.damaged, thing.absent, thing.unknown) = (None, None, None);
    match how.as_str() {
        "there" => {}
        "absent" => thing.absent = Some(detail("it does not exist")),
        "empty" => (thing.entries, thing.bytes) = (0, 0),
        "damaged" => thing.damaged = Some(detail("it cannot be opened")),
        "unknown" => {
            thing.unknown = Some(("NoAnswer".to_owned(), detail("the host does not answer")));
        }
        other => return Err(format!("`{other}` is no state of a resource")),
    }
    if let Some(bytes) = words.number("bytes")? {
        thing.bytes = bytes;
    }
    if let Some(entries) = words.number("entries")? {
        thing.entries = entries;
    }
    let given = marker(&mut words)?;
    if given != Marker::default() {
        thing.marker = given;
    }
    words.end()?;
    state.resources.insert(address, thing);
    Ok(())
}

/// `identity=`, `digest=`, `count:NAME=`, and every other pair as a counter.
fn marker(words: &mut Words) -> Result<Marker, String> {
    let mut marker = Marker {
        identity: words.pair("identity").map(Into::into),
        digest: words.pair("digest").map(Into::into),
        ..Marker::default()
    };
    for (key, value) in words.pairs() {
        let number = value.parse().map_err(|_| format!("`{key}={value}` is no number"))?;
        match key.strip_prefix("count:") {
            Some(name) => marker.counts.insert(name, number),
            None => marker.counters.insert(key, number),
        };
    }
    Ok(marker)
}

/// `repository NAME there|absent|unknown|replaced …`.
pub(super) fn repository(state: &mut State, mut words: Words) -> Result<(), String> {
    let name: Name = parse(&words.need("a repository")?)?;
    let how = words.need("`there`, `absent`, `unknown` or `replaced`")?;
    let detail = words.next();
    let id = words.pair("id");
    words.end()?;
    if !state.repositories.contains_key(&name) {
        let store = state.store();
        state.repositories.insert(name.clone(), store);
    }
    let fresh = state.store();
    let Some(store) = state.repositories.get_mut(&name) else { return Ok(()) };
    (store.absent, store.unknown) = (None, None);
    let detail = |default: &str| detail.clone().unwrap_or_else(|| default.to_owned());
    match how.as_str() {
        "there" => {}
        "absent" => store.absent = Some(detail("no config file is there")),
        "unknown" => store.unknown = Some(("Timeout".to_owned(), detail("no answer"))),
        "replaced" => *store = fresh,
        other => return Err(format!("`{other}` is no state of a repository")),
    }
    if let Some(id) = id {
        store.id = RepositoryId::from(format!("{id:0<64}"));
    }
    let (id, there) = (store.id.clone(), store.absent.is_none() && store.unknown.is_none());
    if there && how == "there" {
        state.memory.repositories.insert(name, id);
    }
    Ok(())
}

/// `point ID of ADDRESS in REPOSITORY at WHEN …`.
pub(super) fn point(state: &mut State, mut words: Words) -> Result<(), String> {
    let digits = words.need("the first digits of its id")?;
    let [mut of, mut to, mut at] = [const { None }; 3];
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        let slot = match word.as_str() {
            "of" => &mut of,
            "in" => &mut to,
            "at" => &mut at,
            _ => {
                flags.push(word);
                continue;
            }
        };
        *slot = Some(words.need(&format!("what comes after `{word}`"))?);
    }
    words.put_back(flags);
    let address: Address = parse(&of.ok_or("`of ADDRESS` is missing")?)?;
    let repository: Name = parse(&to.ok_or("`in REPOSITORY` is missing")?)?;
    let taken_at = instant(state.now, &at.ok_or("`at WHEN` is missing")?)?;
    let id = SnapshotId::from(format!("{digits:0<64}"));
    if words.flag("proven") {
        let evidence = Evidence { kind: EvidenceKind::Checked, at: state.now };
        state.memory.evidence.entry(id.clone()).or_default().insert(evidence);
    }
    let foreign = words.flag("foreign");
    let mut receipt = receipt(&address, taken_at);
    receipt.backup = Some(parse(&words.pair("backup").unwrap_or(address.application.to_string()))?);
    receipt.trigger = words.pair("trigger").map(Into::into);
    receipt.slot = match words.pair("slot") {
        Some(text) => Some(instant(state.now, &text)?),
        None => words.flag("slot").then_some(taken_at),
    };
    receipt.suspicious = words.pair("suspicious").map(Into::into);
    receipt.files = words.number("files")?.unwrap_or(receipt.files);
    receipt.bytes = words.number("bytes")?.unwrap_or(receipt.bytes);
    receipt.epoch = words.number("epoch")?.unwrap_or(state.memory.epoch_before);
    receipt.writer = words.pair("writer").unwrap_or_else(|| state.memory.writer.clone()).into();
    let tags: BTreeSet<String> = words.pair("tag").into_iter().collect();
    if words.flag("partial") {
        receipt.complete = false;
        let error = "permission denied".to_owned();
        receipt.failures.push(ItemFailure { item: "a.txt".to_owned(), error });
        receipt.failures_count = 1;
    }
    receipt.marker = marker(&mut words)?;
    words.end()?;
    let info = SnapshotInfo {
        id,
        time: taken_at,
        address: (!foreign).then_some(address),
        receipt: (!foreign).then_some(receipt),
        tags: tags.into(),
        hostname: "here".into(),
        paths: vec!["/srv".to_owned()].into(),
    };
    if !state.repositories.contains_key(&repository) {
        let store = state.store();
        state.memory.repositories.insert(repository.clone(), store.id.clone());
        state.repositories.insert(repository.clone(), store);
    }
    if let Some(store) = state.repositories.get_mut(&repository) {
        store.snapshots.push(info);
    }
    Ok(())
}

/// A complete receipt of ten files.
pub(super) fn receipt(address: &Address, taken_at: Timestamp) -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        address: address.clone(),
        backup: None,
        slot: None,
        trigger: None,
        taken_at,
        marker: Marker::default(),
        digest: "d".into(),
        files: 10,
        bytes: 4096,
        complete: true,
        failures: Default::default(),
        failures_count: 0,
        suspicious: None,
        template: address.resource.clone(),
        template_digest: Digest::from("t"),
        commit: CommitId::from("c0ffee"),
        plan: PlanId::from("p"),
        writer: Default::default(),
        epoch: 0,
        mainstay: model::VERSION.into(),
    }
}

/// `prove ID`, `delete ID`: somebody read it again, or removed it behind our back.
pub(super) fn prove(state: &mut State, mut words: Words) -> Result<(), String> {
    let (_, found) = state.find(&words.need("a point")?)?;
    words.end()?;
    let evidence = Evidence { kind: EvidenceKind::Checked, at: state.now };
    state.memory.evidence.entry(found.id).or_default().insert(evidence);
    Ok(())
}

pub(super) fn delete(state: &mut State, mut words: Words) -> Result<(), String> {
    let (name, found) = state.find(&words.need("a point")?)?;
    words.end()?;
    if let Some(store) = state.repositories.get_mut(&name) {
        store.snapshots.retain(|s| s.id != found.id);
    }
    Ok(())
}

/// `baseline ADDRESS in REPOSITORY …`: a control record says where the resource is to be measured
/// from.
pub(super) fn baseline(state: &mut State, mut words: Words) -> Result<(), String> {
    let address: Address = parse(&words.need("an address")?)?;
    let name: Name = parse(&words.need("a repository")?)?;
    let marker = marker(&mut words)?;
    words.end()?;
    let reason = "a person said so".to_owned();
    control(state, &[name], ControlBody::Baseline { address, marker, reason })
}

/// Writes a control record into repositories.
pub(super) fn control(state: &mut State, names: &[Name], body: ControlBody) -> Result<(), String> {
    for name in names {
        let memory = &state.memory;
        let record = Control::new(memory.writer.clone(), memory.epoch, state.now, body.clone());
        let store = state.repositories.get_mut(name);
        store.ok_or_else(|| format!("there is no repository {name}"))?.controls.push(record);
    }
    Ok(())
}

/// `memory lost`, `memory epoch=N`, `memory applied=N documents`.
pub(super) fn memory(state: &mut State, mut words: Words) -> Result<(), String> {
    if words.flag("lost") {
        state.forget();
    }
    if let Some(epoch) = words.number("epoch")? {
        state.memory.epoch_before = epoch;
        state.memory.epoch = epoch + 1;
    }
    words.end()
}

/// `accept WORD`: the alarm of the last plan that begins with it, or that text itself.
pub(super) fn accept(state: &mut State, mut words: Words) -> Result<(), String> {
    let text = words.need("what to accept")?;
    words.end()?;
    let alarms = state.plans.last().map(|plan| plan.report.alarms.clone()).unwrap_or_default();
    let known = alarms.into_iter().find_map(|alarm| match alarm {
        Wait::Alarm { accept, .. } if accept.starts_with(&text) => Some(accept),
        _ => None,
    });
    let full = match known {
        Some(full) => full,
        None => match text.strip_prefix("suspicious:") {
            Some(digits) => format!("suspicious:{}", state.find(digits)?.1.id),
            None => return Err(format!("the last plan has no alarm `{text}`")),
        },
    };
    if full.starts_with("memory:") {
        state.memory.known = true;
    }
    if full.starts_with("memory:") || full.starts_with("epoch:") {
        state.memory.epoch_before = state.memory.epoch;
    }
    state.memory.accepted_alarms.insert(full);
    Ok(())
}

/// `approve`: the destructive digest of the last plan.
pub(super) fn approve(state: &mut State, words: Words) -> Result<(), String> {
    words.end()?;
    let digest = state.plans.last().and_then(|plan| plan.destructive.clone());
    let digest = digest.ok_or("the last plan has nothing to approve")?;
    state.memory.approvals.insert(digest);
    Ok(())
}

/// `hold NAME SCOPE REASON [until=WHEN]` and `release NAME`.
pub(super) fn hold(state: &mut State, mut words: Words) -> Result<(), String> {
    let name: Name = parse(&words.need("a name")?)?;
    let scope = scope(&words.need("a scope")?)?;
    let reason = words.need("a reason")?;
    let until = words.pair("until").map(|text| instant(state.now, &text)).transpose()?;
    words.end()?;
    state.memory.holds.push(Hold { name, scope, owner: "ann".to_owned(), reason, until });
    Ok(())
}

pub(super) fn release(state: &mut State, mut words: Words) -> Result<(), String> {
    let name: Name = parse(&words.need("a name")?)?;
    words.end()?;
    let before = state.memory.holds.len();
    state.memory.holds.retain(|hold| hold.name != name);
    if state.memory.holds.len() == before {
        Err(format!("no hold is named {name}"))
    } else {
        Ok(())
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    match text.split_once('/') {
        None if text == "all" => Ok(Scope::All),
        None => Ok(Scope::Application(parse(text)?)),
        Some(("repository", name)) => Ok(Scope::Repository(parse(name)?)),
        Some(_) => Ok(Scope::Resource(parse(text)?)),
    }
}

/// `request ADDRESS TOKEN`: a person asked for a backup by hand.
pub(super) fn request(state: &mut State, mut words: Words) -> Result<(), String> {
    let address = parse(&words.need("an address")?)?;
    let token = words.need("a token")?;
    words.end()?;
    state.memory.requests.push(BackupRequest { address, token });
    Ok(())
}

/// `failed STEP for=DURATION ERROR`: it failed lately.
pub(super) fn failed(state: &mut State, mut words: Words) -> Result<(), String> {
    let step = words.need("a step")?;
    let error = words.next().unwrap_or_else(|| "no answer".to_owned());
    let until = instant(state.now, &format!("+{}", words.pair("for").unwrap_or("5m".to_owned())))?;
    words.end()?;
    let backoff = Backoff { failures: 1, since: state.now, until, error };
    state.memory.backoff.insert(step, backoff);
    Ok(())
}

/// `did expired|restored-over|recreated WHEN…`: deeds that budgets count.
pub(super) fn did(state: &mut State, mut words: Words) -> Result<(), String> {
    let deed = match words.need("a deed")?.as_str() {
        "expired" => Deed::Expired,
        "restored-over" => Deed::RestoredOver,
        "recreated" => Deed::Recreated,
        other => return Err(format!("`{other}` is no deed")),
    };
    let mut instants = Vec::new();
    while let Some(word) = words.next() {
        instants.push(instant(state.now, &word)?);
    }
    words.end()?;
    state.memory.deeds.entry(deed).or_default().extend(instants);
    Ok(())
}

/// `recovery ADDRESS TOKEN PHASE from ID [document=NAME]`: a recovery that was begun before.
pub(super) fn recovery(state: &mut State, mut words: Words) -> Result<(), String> {
    let address: Address = parse(&words.need("an address")?)?;
    let token = words.need("a token")?;
    let phase = match words.need("a phase")?.as_str() {
        "restoring" => RecoveryPhase::Restoring,
        "verifying" => RecoveryPhase::Verifying,
        "swapping" => RecoveryPhase::Swapping,
        "awaiting-commit" => RecoveryPhase::AwaitingCommit,
        "committed" => RecoveryPhase::Committed,
        "rolled-back" => RecoveryPhase::RolledBack,
        "failed" => RecoveryPhase::Failed,
        other => return Err(format!("`{other}` is no phase")),
    };
    words.flag("from");
    let (repository, found) = state.find(&words.need("a point")?)?;
    let since = match words.pair("since") {
        Some(text) => instant(state.now, &text)?,
        None => state.now,
    };
    let recovery = words.pair("document").map(|name| parse(&name)).transpose()?;
    let elsewhere = words.flag("elsewhere");
    words.end()?;
    let kept = (phase == RecoveryPhase::AwaitingCommit).then(|| "what was there".to_owned());
    let record = RecoveryRecord {
        address,
        token: token.clone(),
        repository,
        snapshot: found.id,
        recovery,
        elsewhere,
        phase,
        since,
        kept,
    };
    state.memory.recoveries.insert(token, record);
    Ok(())
}

/// Reads an instant: RFC 3339, `now`, or `-2h` and `+30m` from the clock.
pub(super) fn instant(now: Timestamp, text: &str) -> Result<Timestamp, String> {
    let (sign, rest) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(rest), _) => (-1, rest),
        (_, Some(rest)) => (1, rest),
        _ if text == "now" => return Ok(now),
        _ => return text.parse().map_err(|_| format!("`{text}` is no instant")),
    };
    let seconds = config::units::duration_s(rest).and_then(|s| i64::try_from(s).ok());
    let seconds = seconds.ok_or_else(|| format!("`{rest}` is no duration"))?;
    let at = now.as_second().checked_add(sign * seconds);
    at.and_then(|at| Timestamp::from_second(at).ok()).ok_or(format!("`{text}` is out of range"))
}

/// Reads a name, an address or the like.
pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

/// Returns how many snapshots there are by repository, for `points`.
pub(super) fn points(state: &State, only: Option<&Address>) -> String {
    let mut out = String::new();
    for (name, store) in &state.repositories {
        let mut snapshots: Vec<&SnapshotInfo> = store
            .snapshots
            .iter()
            .filter(|s| only.is_none() || s.address.as_ref() == only)
            .collect();
        snapshots.sort_by_key(|s| (s.time, &s.id));
        for s in snapshots {
            let proven = is_proven(state.memory.evidence.get(&s.id), EvidenceKind::Checked);
            let of = s.address.as_ref().map_or("foreign".to_owned(), ToString::to_string);
            let word = if proven { "proven" } else { "written" };
            out.push_str(&format!("{} {} {of} in {name} {word}\n", s.id.short(), s.time));
        }
    }
    if out.is_empty() { "no points\n".to_owned() } else { out }
}
