//! What every store of secrets must do.

use model::agent::SecretRef;
use model::error::ErrorClass;
use model::ports::secrets::Secrets;

/// Runs the suite on secrets that hold `known` with this value, and no `missing`.
///
/// # Panics
/// Panics when the secrets break a rule.
pub fn conformance(secrets: &dyn Secrets, known: &str, value: &[u8], missing: &str) {
    let resolve = |name: &str| secrets.resolve(&SecretRef(name.to_owned()));
    let Ok(found) = resolve(known) else { panic!("`{known}` is found") };
    assert!(found.expose() == value, "the value comes out as it was put in");
    let shown = format!("{found:?}");
    let text = String::from_utf8_lossy(value);
    assert!(!shown.contains(&*text), "a value is not shown by accident: {shown}");
    let again = resolve(known);
    assert!(again.is_ok_and(|again| again == found), "twice the same");
    let Err(error) = resolve(missing) else { panic!("`{missing}` is not there") };
    assert_eq!(error.class, ErrorClass::Terminal, "what is missing does not come by itself");
    let told = format!("{} {:?}", error.chain(), error.hint);
    assert!(told.contains(missing), "the error names the reference: {told}");
    assert!(!told.contains(&*text), "and never a value: {told}");
    for odd in ["", "../etc/passwd", "a/b", "a\nb", "-x"] {
        let Err(error) = resolve(odd) else { panic!("`{odd}` is no secret") };
        assert!(!error.chain().contains(&*text), "and never another's value");
    }
}
