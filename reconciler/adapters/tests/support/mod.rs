//! What the tests on real systems share: templates rendered by the real reader, and a fleet that
//! runs this crate's own tools as `mainstay`.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_adapters::agents::{Fleet, Parts};
use mainstay_adapters::clock::System;
use mainstay_adapters::secrets::Chain;
use mainstay_adapters::transport::Local;
use model::agent::Agent;
use model::desired::{Objectives, Resource};
use model::id::CommitId;
use model::ports::agents::{Content, NamedStream, OpenSource};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Renders a built-in template with parameters given as YAML flow text.
pub fn render(template: &str, with: &str) -> Agent {
    let file = format!("templates/{template}.yaml");
    let builtin = BTreeMap::from([(file.clone(), std::fs::read(top().join(file)).unwrap())]);
    let text = format!(
        "apiVersion: mainstay.dev/v1\nkind: Host\nmetadata: {{ name: here }}\nspec: {{ \
         connection: local }}\n---\napiVersion: mainstay.dev/v1\nkind: Application\nmetadata: {{ \
         name: app }}\nspec:\n  resources:\n    - name: res\n      type: {template}\n      \
         target: host/here\n\u{20}     with: {with}\n"
    );
    let tree = BTreeMap::from([("mainstay.yaml".to_owned(), text.into_bytes())]);
    let loaded = config::load(&tree, &builtin, CommitId::from("worktree"));
    let Some(desired) = loaded.desired else { panic!("{:#?}", loaded.diagnostics) };
    desired.resources.into_values().next().unwrap().agent
}

/// The program that stands for `mainstay` in tests; cargo builds it with them.
fn tool() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let tool = tests.parent().unwrap().parent().unwrap().join("examples/tool");
    assert!(tool.exists(), "{} is not built: run `cargo test` without a filter", tool.display());
    tool
}

/// Returns a fleet over this machine; `secrets` by name.
pub fn fleet(scratch: &Path, secrets: &[(&str, &str)]) -> Fleet {
    let variables = secrets.iter().map(|(name, value)| {
        (format!("MAINSTAY_SECRET_{}", name.to_uppercase()).into(), (*value).into())
    });
    Fleet::new(Parts {
        local: Arc::new(Local::new(Some(tool()), std::env::vars_os()).unwrap()),
        secrets: Arc::new(Chain::new().with_environment(variables)),
        clock: Arc::new(System),
        scratch: scratch.to_owned(),
    })
}

pub fn resource(agent: Agent) -> Resource {
    Resource {
        address: "app/res".parse().unwrap(),
        target: "host/here".parse().unwrap(),
        agent,
        depends_on: std::collections::BTreeSet::new(),
        priority: 0,
        formerly: Vec::new(),
        objectives: Objectives::default(),
        labels: BTreeMap::new(),
    }
}

/// Reads a stream to its end.
pub fn read(stream: NamedStream) -> Vec<u8> {
    let (mut source, mut all, mut buffer) = (stream.source, Vec::new(), vec![0; 1 << 16]);
    loop {
        match source.read(&mut buffer).unwrap() {
            0 => break,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
    source.finish().unwrap();
    all
}

/// Takes the streams out of an opened resource, in order.
pub fn streams(opened: &mut OpenSource) -> Vec<NamedStream> {
    match std::mem::replace(&mut opened.content, Content::Streams(Vec::new())) {
        Content::Streams(streams) => streams,
        Content::Tree { .. } => panic!("a tree"),
    }
}

/// Feeds bytes to a sink.
pub fn write(mut sink: Box<dyn model::ports::agents::StreamSink>, bytes: &[u8]) {
    sink.write_all(bytes).unwrap();
    sink.finish().unwrap();
}
