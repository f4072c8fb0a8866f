//! A template's `spec` and the commands that it renders to for a resource.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use model::agent::{Arg, Piece};
use model::id::CommitId;

const APPLICATION: &str = "\
apiVersion: mainstay.dev/v1
kind: Host
metadata: { name: here }
spec: { connection: local }
---
apiVersion: mainstay.dev/v1
kind: Application
metadata: { name: shop }
spec:
  resources:
    - { name: plain, type: fuzzed, target: host/here }
    - { name: given, type: fuzzed, target: host/here, with: { path: /srv/a, list: [a, b], n: 7 } }
";

fuzz_target!(|data: &[u8]| {
    let Ok(spec) = std::str::from_utf8(data) else { return };
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let template = format!(
        "apiVersion: mainstay.dev/v1\nkind: AgentTemplate\nmetadata: {{ name: fuzzed }}\nspec:\n\
         {indented}"
    );
    let tree = BTreeMap::from([
        ("application.yaml".to_owned(), APPLICATION.as_bytes().to_vec()),
        ("template.yaml".to_owned(), template.into_bytes()),
    ]);
    let loaded = config::load(&tree, &BTreeMap::new(), CommitId::from("c0ffee"));
    let Some(desired) = loaded.desired else { return };
    for resource in desired.resources.values() {
        let commands = resource.agent.probe.iter();
        let commands = commands.chain(resource.agent.streams.iter().map(|s| &s.command));
        for command in commands {
            let secret = |arg: &Arg| arg.0.iter().any(|p| matches!(p, Piece::Secret(_)));
            assert!(!command.argv.iter().any(secret), "a secret in an argument");
            assert!(!command.argv.is_empty(), "a command without a program");
        }
    }
});
