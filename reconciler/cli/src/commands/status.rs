//! `mainstay status`.

use model::cancel::Cancel;
use operations::status::{look, report};
use plan::rto::RtoReport;
use plan::status::{ResourceStatus, Status, Verdict};
use runtime::Unobserved;

use super::{addresses, plan as plan_command};
use crate::args::{Global, StatusArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::{Ui, table};
use crate::wire::wire;

pub async fn run(global: &Global, args: &StatusArgs, ui: &Ui) -> Result<Exit, CliError> {
    let wired = wire(global)?;
    let only = addresses(&args.only)?;
    let pass = look(&wired.world, None, only.clone(), &Unobserved, &Cancel::default()).await?;
    plan_command::remarks(&pass, ui);
    let mut status = report(&pass, pass.plan.at);
    if !only.is_empty() {
        status.resources.retain(|address, _| only.contains(address));
    }
    let incomplete = !pass.plan.report.incomplete.is_empty();
    if ui.is_json() {
        ui.json(&status)?;
    } else {
        print(&status, &pass, ui);
    }
    if let Some(writer) = wired.world.state.writer().await? {
        ui.say(format!("{} (process {}) writes this state", writer.command, writer.pid));
    }
    Ok(exit(&status, incomplete))
}

fn exit(status: &Status, incomplete: bool) -> Exit {
    let well = status.resources.values().all(ResourceStatus::is_well);
    match (well, incomplete) {
        (_, true) => Exit::Incomplete,
        (true, false) => Exit::Success,
        (false, false) => Exit::Changes,
    }
}

fn print(status: &Status, pass: &runtime::pass::Pass, ui: &Ui) {
    let now = pass.plan.at;
    let rows: Vec<Vec<String>> = status
        .resources
        .iter()
        .map(|(address, r)| {
            let objective = r.rpo_s.map_or("-".to_owned(), |s| {
                let verdict = match r.rpo {
                    Verdict::Kept | Verdict::NoObjective => "kept",
                    Verdict::Unknown => "UNKNOWN",
                    Verdict::Violated => "MISSED",
                };
                format!("{} {verdict}", human::seconds(s))
            });
            let points: u64 = r.repositories.values().map(|c| c.points).sum();
            let proven = r.newest_proven.as_ref();
            vec![
                address.to_string(),
                r.condition.word().to_owned(),
                proven.map_or("never".into(), |p| human::age(p.taken_at, now)),
                objective,
                points.to_string(),
                r.next_due.map_or("-".into(), |at| human::age(at, now)),
            ]
        })
        .collect();
    let header = ["RESOURCE", "CONDITION", "PROVEN POINT", "RPO", "POINTS", "NEXT"];
    ui.raw(&table(&header, &rows));
    for (address, resource) in &status.resources {
        if resource.condition.word() != "Healthy" {
            ui.out(format!("{address}: {}", plan::render::describe(&resource.condition)));
        }
        if let Some(rto) = &resource.rto {
            ui.out(format!("{address}: {}", recovery_time(rto)));
        }
        if let Some(why) = &resource.suspicious {
            ui.out(format!("{address}: its newest point is suspicious: {why}"));
        }
    }
    for (name, repository) in &status.repositories {
        if !repository.usable {
            let detail = repository.detail.as_deref().unwrap_or_default();
            ui.out(format!("repository {name}: {} {detail}", repository.state));
        }
    }
    for wait in &pass.plan.report.alarms {
        ui.out(format!("alarm: {}", plan::render::wait(wait)));
    }
    for why in &pass.plan.report.incomplete {
        ui.out(format!("not observed: {why}"));
    }
    for record in pass.observed.memory.recoveries.values() {
        if record.phase == model::observed::RecoveryPhase::AwaitingCommit {
            ui.out(format!(
                "{}: recovered {}; `mainstay commit {}` keeps it, `mainstay rollback {}` undoes it",
                record.address,
                human::age(record.since, now),
                record.address,
                record.address
            ));
        }
    }
}

/// How long a restore takes, and what mends it when that is too long or not known.
fn recovery_time(rto: &RtoReport) -> String {
    let verdict = match rto.verdict {
        Verdict::Kept | Verdict::NoObjective => "kept",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Violated => "MISSED",
    };
    let wanted = human::seconds(rto.wanted_s);
    let measured = match (&rto.measured, rto.expected_s) {
        (Some(measured), Some(expected)) => format!(
            ", {} expected as measured from {} at {}",
            human::seconds(expected),
            measured.repository,
            human::instant(measured.at)
        ),
        _ => ", no restore was measured".to_owned(),
    };
    let mend = rto.mend.as_ref().map_or(String::new(), |mend| format!("; {mend}"));
    format!("RTO {wanted} {verdict}{measured}{mend}")
}
