//! Tests of command agents on real commands, and what the tests of agents share.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use model::agent::{Arg, Chunking, Command, ErrorRule, ErrorRuleClass, Piece, SecretRef, Stream};
use model::agent::{Load, RecoverySteps, Session};
use model::digest::Digest;
use model::ports::agents::NamedStream;

use super::*;
use crate::clock::System;
use crate::secrets::Chain;
use crate::transport::Local;

/// Returns a fleet over this machine with one secret, `s`, whose value is `hunter2`.
pub(super) fn fleet(scratch: &Path) -> Fleet {
    let secret = ("MAINSTAY_SECRET_S".into(), "hunter2".into());
    Fleet::new(Parts {
        local: Arc::new(Local::new(None, std::env::vars_os()).unwrap()),
        secrets: Arc::new(Chain::new().with_environment([secret])),
        clock: Arc::new(System),
        scratch: scratch.to_owned(),
    })
}

/// Returns an agent that does nothing.
pub(super) fn agent() -> Agent {
    Agent {
        template: "test".parse().unwrap(),
        template_digest: Digest::from("0"),
        with: BTreeMap::new(),
        env: BTreeMap::new(),
        tree: None,
        probe: Vec::new(),
        session: None,
        streams: Vec::new(),
        recovery: None,
        recreate: Vec::new(),
        errors: Vec::new(),
    }
}

pub(super) fn resource(agent: Agent) -> Resource {
    Resource {
        address: "app/res".parse().unwrap(),
        target: "host/test".parse().unwrap(),
        agent,
        depends_on: std::collections::BTreeSet::new(),
        priority: 0,
        formerly: Vec::new(),
        objectives: model::desired::Objectives::default(),
        labels: BTreeMap::new(),
    }
}

fn shell(script: &str) -> Command {
    let argv = ["sh", "-c", script].map(Arg::text).to_vec();
    Command { argv, input: None, timeout_s: 0 }
}

fn read(stream: NamedStream) -> Result<Vec<u8>, PortError> {
    let (mut source, mut all, mut buffer) = (stream.source, Vec::new(), [0; 100]);
    while let Ok(count) = source.read(&mut buffer) {
        if count == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..count]);
    }
    source.finish().map(|()| all)
}

async fn probe(agent: Agent) -> Observation {
    let temp = tempfile::tempdir().unwrap();
    fleet(temp.path()).probe(&resource(agent), &Cancel::default()).await
}

#[tokio::test]
async fn a_probe_tells_known_absent_and_unknown_apart() {
    let with = |script: &str| Agent { probe: vec![shell(script)], ..agent() };
    let known = probe(with("echo '{\"identity\":\"i\",\"entries\":3}'")).await;
    assert!(matches!(known, Observation::Known { entries: Some(3), damaged: None, .. }));
    let absent = probe(with("echo '{\"state\":\"absent\",\"detail\":\"gone\"}'")).await;
    assert!(matches!(absent, Observation::Absent { detail, .. } if detail == "gone"));
    let unknown = |o, wanted| matches!(o, Observation::Unknown { reason, .. } if reason == wanted);
    assert!(unknown(probe(with("echo nonsense")).await, "BadFacts"));
    assert!(unknown(probe(with("exit 1")).await, "CommandFailed"));
    let mut down = with("echo 'connection refused' >&2; exit 2");
    let rule = |class, reason: &str| ErrorRule {
        contains: "refused".to_owned(),
        class,
        reason: reason.to_owned(),
        hint: String::new(),
    };
    down.errors = vec![rule(ErrorRuleClass::Transient, "ServerDown")];
    assert!(unknown(probe(down.clone()).await, "ServerDown"));
    down.errors = vec![rule(ErrorRuleClass::Absent, "Gone")];
    assert!(matches!(probe(down).await, Observation::Absent { .. }));
}

#[tokio::test]
async fn a_session_holds_while_streams_are_read() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("log");
    let note = |text: &str| shell(&format!("echo {text} >> '{}'", log.display()));
    let mut streamed = shell("echo \"$0 $1\" && ls -d \"$1\"");
    streamed.argv.push(Arg(vec![Piece::Hole("facts.snapshot".to_owned())]));
    streamed.argv.push(Arg(vec![Piece::Hole("scratch".to_owned())]));
    let held = format!(
        "echo '{{\"identity\":\"i\",\"snapshot\":\"snap-1\"}}'; cat >/dev/null; echo closed >> \
         '{}'",
        log.display()
    );
    let chunking = Chunking::Content;
    let agent = Agent {
        session: Some(Session { command: shell(&held) }),
        streams: vec![Stream { name: "data".to_owned(), command: streamed, chunking }],
        ..agent()
    };
    let hooks = Hooks { before: vec![note("before")], after: vec![note("after")] };
    let fleet = fleet(&temp.path().join("scratch"));
    let opened = fleet.open(&resource(agent), &hooks, &Cancel::default()).await.unwrap();
    assert_eq!(opened.marker.identity.as_deref(), Some("i"));
    let Content::Streams(mut streams) = opened.content else { panic!("streams") };
    let stream = streams.remove(0);
    let said = tokio::task::spawn_blocking(move || read(stream)).await.unwrap().unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("snap-1 /"), "{said}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\n");
    opened.close.close(false).await.unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\nclosed\nafter\n");
    assert_eq!(fs::read_dir(temp.path().join("scratch")).unwrap().count(), 0, "no scratch stays");
}

#[tokio::test]
async fn a_failed_hook_stops_the_backup_and_the_later_hook_still_runs() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("log");
    let after = shell(&format!("echo after >> '{}'", log.display()));
    let hooks = Hooks { before: vec![shell("exit 7")], after: vec![after] };
    let opened = fleet(temp.path()).open(&resource(agent()), &hooks, &Cancel::default()).await;
    let Err(error) = opened else { panic!("it opened") };
    assert!(error.message.contains("status 7"), "{error}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "after\n");
}

#[tokio::test]
async fn secrets_go_into_the_environment_and_input_only() {
    let secret = || Arg(vec![Piece::Secret(SecretRef("s".to_owned()))]);
    let mut said = shell("echo \"bad $PASSWORD $(cat)\" >&2; exit 1");
    said.input = Some(secret());
    let mut agent = Agent { probe: vec![said], ..agent() };
    agent.env.insert("PASSWORD".to_owned(), secret());
    agent.env.insert("EMPTY".to_owned(), Arg::text(""));
    let Observation::Unknown { detail, .. } = probe(agent.clone()).await else { panic!() };
    assert!(detail.contains("bad *** ***"), "{detail}");
    agent.probe[0].argv.push(secret());
    let seen = probe(agent).await;
    assert!(matches!(seen, Observation::Unknown { reason, .. } if reason == "SecretInArgument"));
}

#[tokio::test]
async fn a_recovery_of_commands_takes_streams() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let mut load = shell("cat > \"$0.$1\"");
    load.argv.push(Arg::text(out.to_str().unwrap()));
    load.argv.push(Arg(vec![Piece::Hole("token".to_owned())]));
    let steps = RecoverySteps {
        state: vec![shell("echo '{\"phase\":\"beside\"}'")],
        load: vec![Load { stream: "data".to_owned(), command: load, optional: false }],
        swap: vec![shell("echo '{\"kept\":\"there\"}'")],
        ..RecoverySteps::default()
    };
    let agent = Agent { recovery: Some(steps), ..agent() };
    let fleet = fleet(&temp.path().join("scratch"));
    let (target, cancel) = ("host/test".parse().unwrap(), Cancel::default());
    let state = fleet.recovery_state(&target, &agent, "t", &cancel).await.unwrap();
    assert_eq!(state, OnTarget::Beside);
    let beside = fleet.prepare(&target, &agent, "t", &cancel).await.unwrap();
    let Beside::Streams(mut sinks) = beside else { panic!("streams") };
    let mut sink = sinks.remove(0).sink;
    sink.write_all(b"content").unwrap();
    sink.finish().unwrap();
    let written = temp.path().join(format!("out.{}", short_token("t")));
    assert_eq!(fs::read(written).unwrap(), b"content");
    let kept = fleet.swap(&target, &agent, "t", &cancel).await.unwrap();
    assert_eq!(kept.as_deref(), Some("there"));
}

#[tokio::test]
async fn what_is_made_anew_is_made_by_the_commands_of_its_type() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let mut make = shell("mkdir -p \"$0\" && echo \"$1\" > \"$0/token\" && ls -d \"$2\"");
    make.argv.push(Arg::text(out.to_str().unwrap()));
    make.argv.push(Arg(vec![Piece::Hole("token".to_owned())]));
    make.argv.push(Arg(vec![Piece::Hole("scratch".to_owned())]));
    let fleet = fleet(&temp.path().join("scratch"));
    let (target, cancel) = ("host/test".parse().unwrap(), Cancel::default());
    // Folders, too, which need no commands otherwise.
    let tree = Some(Tree { path: out.display().to_string(), ..Tree::default() });
    for agent in [agent(), Agent { tree, ..agent() }] {
        let made = Agent { recreate: vec![make.clone()], ..agent.clone() };
        for _ in 0..2 {
            fleet.recreate(&target, &made, "t", &cancel).await.unwrap();
        }
        let token = fs::read_to_string(out.join("token")).unwrap();
        assert_eq!(token.trim_end(), short_token("t"));
        let fails = Agent { recreate: vec![shell("exit 3"), make.clone()], ..agent.clone() };
        fs::remove_dir_all(&out).unwrap();
        let failed = fleet.recreate(&target, &fails, "t", &cancel).await.unwrap_err();
        assert_eq!((failed.reason, out.exists()), ("CommandFailed", false), "{failed}");
        let silent = fleet.recreate(&target, &agent, "t", &cancel).await.unwrap_err();
        assert_eq!(silent.reason, "NoRecreation");
    }
    assert_eq!(fs::read_dir(temp.path().join("scratch")).unwrap().count(), 0, "no scratch stays");
}

#[test]
fn scratch_of_dead_processes_is_swept() {
    let temp = tempfile::tempdir().unwrap();
    let dead = temp.path().join("mainstay-scratch-4294967294-x");
    let other = temp.path().join("someone-elses");
    fs::create_dir(&dead).unwrap();
    fs::create_dir(&other).unwrap();
    let fleet = fleet(temp.path());
    let own = fleet.invoker.scratch().unwrap();
    drop(self::fleet(temp.path()));
    assert!(!dead.exists() && other.exists() && own.path().exists());
}
