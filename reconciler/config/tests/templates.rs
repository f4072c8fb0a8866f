//! Agent templates: what a resource's commands look like after rendering.
#![allow(clippy::unwrap_used)]

mod support;

use model::agent::{Agent, Arg, Chunking, ErrorRuleClass, Piece, SecretRef};
use support::{QUICKSTART, Tree, load_tree, tree};

const QUEUE: &str = r#"
apiVersion: mainstay.dev/v1
kind: AgentTemplate
metadata: { name: queue }
spec:
  description: A message queue
  parameters:
    name: { type: string, required: true, pattern: "[a-z_\"']+" }
    port: { type: integer }
    wait: { type: duration, default: 2m }
    password: { type: secret }
    topics: { type: list, default: [] }
    durable: { type: boolean, default: true }
  env:
    QUEUE_PORT: "{{ port }}"
    QUEUE_PASSWORD: "{{ password }}"
    QUEUE_WAIT: "{{ wait }}"
  probe:
    - run: [queuectl, facts, "{{ name }}"]
      input: "login {{ password }}\n"
      timeout: 30s
  session:
    run: [queuectl, hold, "{{ name }}"]
    input: "hold {{ token }}\n"
  streams:
    - name: "messages"
      run:
        - queuectl
        - dump
        - { when: port, args: ["--port", "{{ port }}"] }
        - { when: durable, args: [--durable] }
        - { when: "topics", each: topics, args: ["--topic={{ item }}", "--of={{ name }}"] }
        - --snapshot={{ facts.snapshot }}
        - --
        - "{{ name }}"
      chunking: pages
  recovery:
    state: [{ run: [queuectl, state, "{{ token }}"] }]
    prepare:
      - run: [queuectl, sql, "CREATE {{ name | sql_identifier }} AS {{ name | sql_literal }} AT {{ scratch }}"]
    load: [{ stream: messages, run: [queuectl, load, "new_{{ scratch }}_of_{{ name }}"], timeout: 12h }]
    verify: [{ run: [queuectl, facts, "{{ scratch }}"] }]
    swap: [{ run: [queuectl, swap, "{{ scratch }}", "{{ name }}"] }]
  errors:
    - { contains: refused, class: transient, reason: server-down, hint: start it }
"#;

fn with(parameters: &str) -> Tree {
    let application = format!(
        "apiVersion: mainstay.dev/v1\nkind: Application\nmetadata: {{ name: crm }}\nspec:\n  \
         resources:\n    - name: jobs\n      type: queue\n      target: host/here\n      with: \
         {parameters}\n"
    );
    let backup = "apiVersion: mainstay.dev/v1\nkind: Backup\nmetadata: { name: rest }\nspec: { \
                  select: { types: [queue] } }\n";
    tree(&[
        ("base.yaml", QUICKSTART),
        ("crm.yaml", &application),
        ("backup.yaml", backup),
        ("queue.yaml", QUEUE),
    ])
}

fn agent(parameters: &str) -> Agent {
    let loaded = load_tree(&with(parameters));
    assert_eq!(loaded.diagnostics, vec![]);
    loaded.desired.unwrap().resources[&"crm/jobs".parse().unwrap()].agent.clone()
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn hole(name: &str) -> Piece {
    Piece::Hole(name.to_owned())
}

fn secret(name: &str) -> Piece {
    Piece::Secret(SecretRef(name.to_owned()))
}

#[test]
fn optional_parts_are_left_out() {
    let agent = agent("{ name: orders }");
    assert_eq!(agent.env.keys().collect::<Vec<_>>(), ["QUEUE_WAIT"]);
    assert_eq!(agent.env["QUEUE_WAIT"], Arg::text("120"));
    let argv = &agent.streams[0].command.argv;
    let expected: Vec<Arg> = ["queuectl", "dump", "--durable"].map(Arg::text).into();
    assert_eq!(argv[..3], expected);
    assert_eq!(argv[3].0, [text("--snapshot="), hole("facts.snapshot")]);
    assert_eq!(argv[4..], [Arg::text("--"), Arg::text("orders")]);
    assert_eq!(agent.probe[0].timeout_s, 30);
    assert_eq!(agent.with["wait"], "2m");
    assert!(!agent.with.contains_key("port"));
}

#[test]
fn everything_given_is_there() {
    let agent = agent(
        "{ name: orders, port: 5, password: { secret: queue-pw }, topics: [a, \"b c\"], durable: \
         false }",
    );
    assert_eq!(agent.env["QUEUE_PASSWORD"].0, [secret("queue-pw")]);
    assert_eq!(agent.env["QUEUE_PORT"], Arg::text("5"));
    let input = agent.probe[0].input.as_ref().unwrap();
    assert_eq!(input.0, [text("login "), secret("queue-pw"), text("\n")]);
    assert_eq!(agent.with["password"], "{secret: queue-pw}");
    let argv = &agent.streams[0].command.argv;
    let plain: Vec<Arg> = [
        "queuectl",
        "dump",
        "--port",
        "5",
        "--topic=a",
        "--of=orders",
        "--topic=b c",
        "--of=orders",
    ]
    .map(Arg::text)
    .into();
    assert_eq!(argv[..8], plain);
    assert_eq!(agent.streams[0].chunking, Chunking::Pages);
    assert_eq!(agent.errors[0].class, ErrorRuleClass::Transient);
}

#[test]
fn holes_stand_anywhere_in_a_text() {
    let agent = agent("{ name: orders }");
    let recovery = agent.recovery.unwrap();
    let load = &recovery.load[0];
    assert_eq!(load.command.argv[2].0, [text("new_"), hole("scratch"), text("_of_orders")]);
    assert_eq!(load.command.timeout_s, 43_200);
    assert_eq!(recovery.state[0].argv[2].0, [hole("token")]);
    assert_eq!(
        agent.session.unwrap().command.input.unwrap().0,
        [text("hold "), hole("token"), text("\n")]
    );
}

#[test]
fn sql_is_quoted() {
    let agent = agent(r#"{ name: "a\"b'c" }"#);
    let prepare = &agent.recovery.unwrap().prepare[0].argv[2];
    assert_eq!(prepare.0, [text(r#"CREATE "a""b'c" AS 'a"b''c' AT "#), hole("scratch")]);
}

#[test]
fn values_stay_one_argument_and_are_never_rendered_again() {
    let mut tree = with("{ name: orders, topics: [\"{{ password }} $(id); --x\"] }");
    let loaded = load_tree(&tree);
    assert_eq!(loaded.diagnostics, vec![]);
    let desired = loaded.desired.unwrap();
    let argv = &desired.resources[&"crm/jobs".parse().unwrap()].agent.streams[0].command.argv;
    assert_eq!(argv[3], Arg::text("--topic={{ password }} $(id); --x"));
    for forged in ["\u{e000}token\u{e001}", "a\\0b"] {
        let application = format!("{{ name: orders, topics: [\"{forged}\"] }}");
        tree = with(&application);
        let codes: Vec<String> = load_tree(&tree).diagnostics.into_iter().map(|d| d.code).collect();
        assert_eq!(codes, ["parameter-invalid"], "{forged:?}");
    }
}

#[test]
fn a_recovery_into_another_place_renders_with_merged_parameters() {
    let mut tree = with("{ name: orders, port: 5 }");
    let recovery = "apiVersion: mainstay.dev/v1\nkind: Recovery\nmetadata: { name: copy \
                    }\nspec:\n  resource: crm/jobs\n  into: { with: { name: orders_copy } }\n  \
                    token: one\n";
    tree.insert("recovery.yaml".to_owned(), recovery.as_bytes().to_vec());
    let loaded = load_tree(&tree);
    assert_eq!(loaded.diagnostics, vec![]);
    let desired = loaded.desired.unwrap();
    let into = desired.recoveries[&"copy".parse().unwrap()].into.clone().unwrap();
    assert_eq!((into.with["name"].as_str(), into.with["port"].as_str()), ("orders_copy", "5"));
}

#[test]
fn a_template_of_the_tree_takes_the_place_of_the_built_in_one() {
    let own = "apiVersion: mainstay.dev/v1\nkind: AgentTemplate\nmetadata: { name: directory \
               }\nspec:\n  parameters: { path: { type: path, required: true } }\n  tree: { path: \
               \"{{ path }}/data\", excludes: [\"*.tmp\"] }\n";
    let loaded = load_tree(&tree(&[("a.yaml", QUICKSTART), ("b.yaml", own)]));
    assert_eq!(loaded.diagnostics, vec![]);
    let overriding = loaded.documents.iter().filter(|d| d.overrides).count();
    assert_eq!(overriding, 2);
    let desired = loaded.desired.unwrap();
    let tree = desired.resources[&"shop/uploads".parse().unwrap()].agent.tree.clone().unwrap();
    assert_eq!(
        (tree.path.as_str(), tree.excludes.as_slice()),
        ("/srv/uploads/data", &["*.tmp".to_owned()][..])
    );
}

#[test]
fn the_digest_is_of_the_meaning() {
    let plain = agent("{ name: orders }").template_digest;
    let mut commented = with("{ name: orders }");
    commented.insert("queue.yaml".to_owned(), format!("# a comment\n{QUEUE}").into_bytes());
    let desired = load_tree(&commented).desired.unwrap();
    assert_eq!(desired.resources[&"crm/jobs".parse().unwrap()].agent.template_digest, plain);
}
