//! `repository mount`: all snapshots as folders of this machine, until a signal or `umount`.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::id::Address;
use repository::Snapshot;
use repository::browse::{Browser, Shelf};
use tokio::signal::unix::{SignalKind, signal};

use super::{Desk, address_of, filtered};
use crate::args::MountArgs;
use crate::error::CliError;
use crate::exit::Exit;

/// The name beside the times that always means the newest.
const NEWEST: &str = "latest";

pub async fn run(desk: &Desk<'_>, args: &MountArgs) -> Result<Exit, CliError> {
    // Before anything is mounted: from then on a signal must unmount.
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (name, repository) = desk.one()?;
    let (count, browser) = tokio::task::block_in_place(|| -> Result<_, CliError> {
        let snapshots = filtered(repository.snapshots()?, &args.filter)?;
        let described: Vec<(&Snapshot, Option<Address>)> =
            snapshots.iter().map(|snapshot| (snapshot, address_of(snapshot))).collect();
        let browser = Browser::new(Arc::clone(&repository), &shelves(&described), &desk.cancel)?;
        Ok((snapshots.len(), browser))
    })?;
    let mut mounted = adapters::mount::mount(browser, &args.folder, args.allow_other)?;
    let at = args.folder.display();
    desk.ui.say(format!("{count} snapshots of repository {name} are in {at}; Ctrl-C ends it"));
    tokio::select! {
        () = mounted.ended() => {
            desk.ui.say(format!("{at} was unmounted"));
            return Ok(Exit::Success);
        }
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    mounted.unmount().await?;
    desk.ui.say(format!("{at} is unmounted"));
    Ok(Exit::Success)
}

/// Returns where each snapshot is shown: by time, by id, by resource and by host.
fn shelves(snapshots: &[(&Snapshot, Option<Address>)]) -> Vec<Shelf> {
    let mut shelves = Vec::new();
    let mut newest: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut taken: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut ordered: Vec<_> = snapshots.iter().collect();
    ordered.sort_by_key(|(snapshot, _)| std::cmp::Reverse((snapshot.time, snapshot.id)));
    for (snapshot, address) in ordered {
        let mut folders = vec![vec!["times".to_owned()]];
        if let Some(address) = address {
            let parts = address.to_string();
            let parts = parts.split('/').map(component);
            folders.push(["resources".to_owned()].into_iter().chain(parts).collect());
        }
        if !snapshot.host.is_empty() {
            folders.push(vec!["hosts".to_owned(), component(&snapshot.host)]);
        }
        let seconds = snapshot.time.as_second();
        let time = model::Timestamp::new(seconds, 0).unwrap_or(snapshot.time).to_string();
        let mut show = |path: Vec<String>| {
            let path = path.into_iter().map(String::into_bytes).collect();
            shelves.push(Shelf { path, snapshot: snapshot.id });
        };
        show(vec!["ids".to_owned(), snapshot.id.short()]);
        for folder in folders {
            if newest.insert(folder.clone()) {
                show([folder.clone(), vec![NEWEST.to_owned()]].concat());
            }
            let mut path = [folder.clone(), vec![time.clone()]].concat();
            if !taken.insert(path.clone()) {
                path = [folder, vec![format!("{time}-{}", snapshot.id.short())]].concat();
            }
            show(path);
        }
    }
    shelves
}

/// Returns a text as one component of a path; hosts may have any name.
fn component(text: &str) -> String {
    match text.replace(['/', '\0'], "_") {
        dots if dots.chars().all(|c| c == '.') => dots.replace('.', "_"),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(number: u8, time: &str, host: &str) -> Snapshot {
        let json =
            format!(r#"{{"time":"{time}","tree":"{:064x}","paths":["/"],"hostname":"{host}"}}"#, 1);
        let id = repository::Id::of(&[number]);
        Snapshot::parse(id, json.as_bytes()).unwrap()
    }

    #[test]
    fn snapshots_lie_by_time_id_resource_and_host() {
        let older = snapshot(1, "2026-01-01T10:00:00.7Z", "web-1");
        let newer = snapshot(2, "2026-01-02T10:00:00Z", "../etc");
        let same = snapshot(3, "2026-01-02T10:00:00.2Z", "..");
        let address: Address = "shop/files".parse().unwrap();
        let all = [(&older, Some(address)), (&newer, None), (&same, None)];
        let shown: Vec<String> = shelves(&all)
            .into_iter()
            .map(|shelf| {
                let path: Vec<_> =
                    shelf.path.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
                let number = all.iter().position(|(s, _)| s.id == shelf.snapshot).unwrap() + 1;
                format!("{} {number}", path.join("/")).replace(&newer.id.short(), "ID2")
            })
            .filter(|line| !line.starts_with("ids/"))
            .collect();
        let wanted = [
            "times/latest 3",
            "times/2026-01-02T10:00:00Z 3",
            "hosts/__/latest 3",
            "hosts/__/2026-01-02T10:00:00Z 3",
            "times/2026-01-02T10:00:00Z-ID2 2",
            "hosts/.._etc/latest 2",
            "hosts/.._etc/2026-01-02T10:00:00Z 2",
            "times/2026-01-01T10:00:00Z 1",
            "resources/shop/files/latest 1",
            "resources/shop/files/2026-01-01T10:00:00Z 1",
            "hosts/web-1/latest 1",
            "hosts/web-1/2026-01-01T10:00:00Z 1",
        ];
        assert_eq!(shown, wanted);
    }
}
