//! Steps, waits and conditions in words, the same in every view.

use model::plan::{Action, Condition, Due, Over, SnapshotRef, Step, Wait};

/// Returns what a step does in one line.
pub fn title(step: &Step) -> String {
    match &step.action {
        Action::Init { repository } => format!("init repository {repository}"),
        Action::Backup { resource, repository, due, .. } => {
            let due = match due {
                Due::Slot { at, .. } => format!("slot {at}"),
                Due::Token { token } => format!("token {token}"),
            };
            format!("backup {resource} to {repository} ({due})")
        }
        Action::Verify { resource, repository, snapshot } => match snapshot {
            SnapshotRef::Id(id) => format!("verify {resource} {} in {repository}", id.short()),
            SnapshotRef::Of(_) => format!("verify {resource}, the new point, in {repository}"),
        },
        Action::Expire { resource, repository, snapshots, erasure: Some(_) } => {
            format!("erase {} of {resource} in {repository} for ever", points(snapshots.len()))
        }
        Action::Expire { resource, repository, snapshots, erasure: None } => {
            format!("expire {} of {resource} in {repository}", points(snapshots.len()))
        }
        Action::Reclaim { repository } => format!("reclaim {repository}"),
        Action::Restore { resource, repository, snapshot, over, elsewhere, .. } => {
            let place = if *elsewhere { "in another place" } else { place(*over) };
            format!("restore {resource} from {} in {repository}, {place}", snapshot.short())
        }
        Action::Recreate { resource, over, .. } => format!("recreate {resource}, {}", place(*over)),
        Action::Commit { resource, token } => format!("commit recovery {token} of {resource}"),
        Action::Rollback { resource, token } => format!("roll back recovery {token} of {resource}"),
        Action::Adopt { resource, .. } => format!("adopt {resource} as it is"),
    }
}

fn place(over: Over) -> &'static str {
    match over {
        Over::Nothing => "where nothing is",
        Over::Remains => "over what remains",
        Over::Live => "over live data",
    }
}

/// Returns a number of points in words.
pub(crate) fn points(n: usize) -> String {
    if n == 1 { "1 point".to_owned() } else { format!("{n} points") }
}

/// Returns what a step waits for in one line.
pub fn wait(wait: &Wait) -> String {
    match wait {
        Wait::Approval { digest } => {
            format!("approval: mainstay approve {}", digest.short())
        }
        Wait::Hold { name, owner, reason, until } => {
            let until = until.map_or(String::new(), |until| format!(" until {until}"));
            format!("hold {name} of {owner}{until}: {reason}")
        }
        Wait::Window { name, opens } => match opens {
            Some(opens) => format!("window of {name}, opens {opens}"),
            None => format!("window of {name}, which does not open within a year"),
        },
        Wait::Budget { name, detail } => format!("budget of guardrail {name}: {detail}"),
        Wait::Backoff { until, error } => format!("failed lately, again at {until}: {error}"),
        Wait::Alarm { accept, detail } => format!("{detail}: mainstay accept {accept}"),
    }
}

/// Returns a condition in one line.
pub fn describe(condition: &Condition) -> String {
    crate::planner::describe(condition)
}

/// Returns a number of bytes in binary units.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    tenths /= 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Returns a duration in its two largest units.
pub fn duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, length) in units {
        if rest >= length {
            parts.push(format!("{} {unit}", rest / length));
            rest %= length;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}
