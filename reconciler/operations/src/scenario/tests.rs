//! Tests of the language itself; the scenarios are tested by `tests/scenarios.rs`.

use std::collections::BTreeMap;

use super::run;

const DOCUMENTS: &str = r#"```yaml
apiVersion: mainstay.dev/v1
kind: Host
metadata: { name: here }
spec: { connection: local }
---
apiVersion: mainstay.dev/v1
kind: Repository
metadata: { name: local }
spec: { storage: { local: { path: /backup } }, password: { secret: password } }
```
"#;

fn page(commands: &str) -> super::Ran {
    let text = format!("# Title\n\nFirst. Second.\n\n{DOCUMENTS}```scenario\n{commands}```\n");
    run(&text, &BTreeMap::new(), &|_| None).unwrap()
}

fn outputs(ran: &super::Ran) -> Vec<&str> {
    ran.mismatches.iter().map(|m| m.got.trim()).collect()
}

#[test]
fn a_page_is_written_as_it_was_with_the_output_below_each_command() {
    let ran = page("> repository local there\n> steps\n");
    assert_eq!((ran.title.as_str(), ran.sentence.as_str()), ("Title", "First."));
    assert_eq!(outputs(&ran), ["nothing to do"]);
    assert!(ran.text.ends_with("> repository local there\n> steps\nnothing to do\n```\n"));
    let again = run(&ran.text, &BTreeMap::new(), &|_| None).unwrap();
    assert_eq!((again.mismatches, again.text), (Vec::new(), ran.text));
}

#[test]
fn another_output_is_a_mismatch_with_its_line() {
    let ran = page("> repository local there\n> steps\nsomething else\n");
    assert_eq!(ran.mismatches[0].expected, "something else\n");
    assert_eq!((ran.mismatches[0].line, ran.mismatches[0].command.as_str()), (18, "steps"));
}

#[test]
fn what_is_not_understood_is_said() {
    let ran = page(
        "> fly\n> wait 1x\n> world shop\n> world shop/a there size\n> delete aa\n> accept x\n> \
         world shop/a there a=b\n> lose planet x\n> lose host there\n> point a of shop/a at \
         now\n> world \"shop/a\n",
    );
    assert_eq!(
        outputs(&ran),
        [
            "error: there is no command `fly`",
            "error: `1x` is no duration",
            "error: `shop` is not an address: write `application/resource`",
            "error: `size` is not understood here",
            "error: no point begins with `aa`",
            "error: the last plan has no alarm `x`",
            "error: `a=b` is no number",
            "error: `planet` is not one of account, cluster, credentials, host, key, repository, \
             site",
            "error: no document names the host `there`; known: here",
            "error: `in REPOSITORY` is missing",
            "error: a quote has no end",
        ]
    );
}

#[test]
fn undo_takes_back_and_branches_are_kept_apart() {
    let ran = page(
        "> branch empty\n> steps\n> repository local there\n> steps\n> undo\n> steps\n> switch \
         empty\n> steps\n> switch none\n",
    );
    let init = "init/local";
    assert_eq!(
        outputs(&ran),
        [init, "nothing to do", init, init, "error: no branch is named none"],
    );
}

#[test]
fn a_block_without_end_is_no_page() {
    let error = run("```scenario\n> plan\n", &BTreeMap::new(), &|_| None).unwrap_err();
    assert_eq!(error.0, "line 1: the block has no end");
    let error = run("```scenario\nplan\n```\n", &BTreeMap::new(), &|_| None).unwrap_err();
    assert_eq!(error.0, "line 2: a command begins with `> `, not `plan`");
}

#[test]
fn digests_are_masked_and_ids_are_not() {
    let id = format!("{:0<64}", "a1");
    let text = format!("{id} 90e04b4ad7d5 00000012 20261120 c1000000");
    assert_eq!(super::masked(&text), format!("{id} DIGEST 00000012 20261120 c1000000"));
}
