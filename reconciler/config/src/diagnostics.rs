//! Every diagnostic that this crate can give: one constructor each, all in one list, so that codes
//! can be searched for, documented and counted. `docs/diagnostics.md` is made from [`CODES`].

use model::diagnostic::{Diagnostic, Origin, Severity};

use crate::documents::Kind;
use crate::spans::{DEPTH_MAX, Flaw, NODES_MAX, Spot};
use crate::units::{self, DURATION_SHAPE, SIZE_SHAPE};

/// What the file of a document that comes with the program begins with.
pub const BUILTIN_PREFIX: &str = "builtin:";

/// Most names that a help text lists.
const LISTED_MAX: usize = 20;

/// A place in a file, with the width of what is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it begins.
    pub origin: Origin,
    /// How many characters it has on that line.
    pub width: u32,
}

impl Place {
    /// Returns the place of a spot in a file.
    pub fn new(file: &str, spot: Spot) -> Self {
        let origin = Origin { file: file.to_owned(), line: spot.line, column: spot.column };
        Self { origin, width: spot.width.max(1) }
    }
}

/// What is known of a code, for documentation.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The code.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it means.
    pub meaning: &'static str,
}

/// Defines diagnostics: meaning, code, severity, constructor, message and help.
macro_rules! catalogue {
    ($(
        #[$meaning:literal]
        $code:literal $severity:ident $name:ident($($arg:ident: $type:ty),*)
        => $message:expr, $help:expr;
    )*) => {
        /// Every code, in the order of its first use while reading a configuration.
        pub const CODES: &[Code] = &[$(
            Code { code: $code, severity: Severity::$severity, meaning: $meaning },
        )*];

        $(
            #[doc = $meaning]
            pub fn $name(place: Place $(, $arg: $type)*) -> Diagnostic {
                Diagnostic {
                    origin: place.origin,
                    severity: Severity::$severity,
                    code: $code.to_owned(),
                    message: String::from($message),
                    help: String::from($help),
                    width: place.width,
                    related: Vec::new(),
                }
            }
        )*
    };
}

/// Adds a related place.
pub fn related(mut diagnostic: Diagnostic, place: Place, what: impl Into<String>) -> Diagnostic {
    diagnostic.related.push((place.origin, what.into()));
    diagnostic
}

/// Returns the diagnostic for a flaw of the text itself.
pub fn flaw(place: Place, file: &str, flaw: &Flaw) -> Diagnostic {
    match flaw {
        Flaw::Syntax(info) => yaml_syntax(place, info),
        Flaw::DuplicateKey(key, first) => {
            related(key_duplicate(place, key), Place::new(file, *first), "first written here")
        }
        Flaw::Boolean(word) => yaml_boolean(place, word),
        Flaw::BooleanKey(word) => yaml_boolean_key(place, word),
        Flaw::MergeKey => yaml_merge_key(place),
        Flaw::Tag(tag) => yaml_tag(place, tag),
        Flaw::Key => yaml_key(place),
        Flaw::Alias => yaml_alias(place),
        Flaw::Deep => yaml_deep(place),
        Flaw::Large => yaml_large(place),
    }
}

catalogue! {
    #["A file is larger than the limit and is not read."]
    "file-too-large" Error file_too_large(bytes: usize, limit: usize)
    => format!("the file has {bytes} bytes, more than {limit}"),
       "split it into several files";

    #["A file is not UTF-8 text."]
    "file-not-utf8" Error file_not_utf8()
    => "the file is not UTF-8 text from this line on",
       "save it as UTF-8";

    #["The tree has more documents than the limit."]
    "documents-too-many" Error documents_too_many(limit: usize)
    => format!("the tree has more than {limit} documents"),
       "divide it over several config repositories";

    #["A document is larger than the limit and is not read."]
    "document-too-large" Error document_too_large(bytes: usize, limit: usize)
    => format!("the document has {bytes} bytes, more than {limit}"),
       "split it into several documents";

    #["The text is not YAML."]
    "yaml-syntax" Error yaml_syntax(info: &str)
    => format!("this is not YAML: {info}"),
       "look for indentation, a missing `:` or quote, or a tab on or above this line";

    #["A key occurs twice in one mapping."]
    "key-duplicate" Error key_duplicate(key: &str)
    => format!("the key `{key}` is written twice"),
       "keep one of them";

    #["A plain word that some YAML tools read as a boolean and others as text."]
    "yaml-boolean" Error yaml_boolean(word: &str)
    => format!("`{word}` is a boolean to some YAML tools and text to others"),
       format!("write `{}` for the boolean, or `\"{word}\"` in quotes for the text",
           matches!(word.to_ascii_lowercase().as_str(), "yes" | "on"));

    #["A plain key that some YAML tools read as a boolean and others as text."]
    "yaml-boolean-key" Error yaml_boolean_key(word: &str)
    => format!("the key `{word}` is a boolean to some YAML tools and text to others"),
       format!("no field has this name; put it in quotes where the name is yours, as in \
           `\"{word}\"`");

    #["A YAML merge key (`<<`)."]
    "yaml-merge-key" Error yaml_merge_key()
    => "merge keys (`<<`) are not part of YAML 1.2",
       "write the fields out, or give the whole value an anchor and use it as it is";

    #["A YAML tag such as `!include`."]
    "yaml-tag" Error yaml_tag(tag: &str)
    => format!("the tag `{tag}` has no meaning here"),
       "remove it; documents are data and include nothing";

    #["A key that is not text."]
    "yaml-key" Error yaml_key()
    => "a key must be text",
       "put `{{ … }}` in quotes if a template was meant";

    #["An alias without an anchor before it."]
    "yaml-alias" Error yaml_alias()
    => "there is no anchor of this name before the alias",
       "put text that begins with `*` in quotes";

    #["A document is nested too deeply."]
    "yaml-deep" Error yaml_deep()
    => format!("the document is nested more than {DEPTH_MAX} levels deep"),
       "no document needs that; look for an indentation that grows by mistake";

    #["A document has too many values once its aliases are expanded."]
    "yaml-large" Error yaml_large()
    => format!("the document has more than {NODES_MAX} values, aliases expanded"),
       "split it into several documents";

    #["A YAML document that is not for Mainstay."]
    "document-foreign" Error document_foreign()
    => "this document is not for Mainstay: it has no `apiVersion: mainstay.dev/v1`",
       "add apiVersion and kind, or move files of other tools into a folder whose name \
           begins with `.`";

    #["An `apiVersion` of Mainstay that this version does not know."]
    "api-version-unknown" Error api_version_unknown(version: &str)
    => format!("`{version}` is not known to this version"),
       "write `mainstay.dev/v1`, or use a newer version of Mainstay";

    #["A document has no `kind`."]
    "kind-missing" Error kind_missing()
    => "the document does not say what it is",
       "add `kind`, such as `kind: Backup`";

    #["A `kind` that does not exist."]
    "kind-unknown" Error kind_unknown(kind: &str, near: Option<&str>)
    => format!("there is no kind `{kind}`"),
       did_you_mean(near, &Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());

    #["A `kind` that exists in the design and that this version does not act on."]
    "kind-not-yet" Error kind_not_yet(kind: &str)
    => format!("this version does not act on `{kind}` documents"),
       "remove it: what is not acted on protects nothing";

    #["A document breaks a rule of its shape."]
    "document-shape" Error document_shape(rule: &str)
    => format!("the document has a wrong shape: {rule}"),
       "`mainstay schema KIND` prints the shape";

    #["A field that does not exist."]
    "field-unknown" Error field_unknown(key: &str, owner: &str, known: &[&str])
    => format!("`{owner}` has no field `{key}`"),
       did_you_mean(nearest(key, known.iter().copied()), known);

    #["A field that must be there is not."]
    "field-missing" Error field_missing(name: &str, owner: &str, about: &str)
    => format!("`{owner}` lacks `{name}`"),
       if about.is_empty() { format!("add `{name}`") } else { format!("add `{name}`: {about}") };

    #["A field is written without a value."]
    "value-missing" Error value_missing(path: &str)
    => format!("`{path}` has no value"),
       "give it one, or remove the key";

    #["A value of the wrong type."]
    "type-mismatch" Error type_mismatch(path: &str, expected: &str, actual: &str, help: &str)
    => format!("`{path}` must be {expected}, and is {actual}"),
       help;

    #["A text that is none of the possible ones."]
    "value-unknown" Error value_unknown(path: &str, text: &str, options: &[&str])
    => format!("`{path}` cannot be `{text}`"),
       did_you_mean(nearest(text, options.iter().copied()), options);

    #["A number outside its limits."]
    "number-out-of-range" Error number_out_of_range(
        path: &str, value: &str, least: Option<&str>, most: Option<&str>
    )
    => format!("`{path}` cannot be {value}"),
       match (least, most) {
           (Some(least), Some(most)) => format!("write a number from {least} to {most}"),
           (Some(least), None) => format!("write {least} or more"),
           (None, Some(most)) => format!("write {most} or less"),
           (None, None) => String::new(),
       };

    #["A secret is written where only a reference to one may be."]
    "secret-in-clear" Error secret_in_clear(path: &str)
    => format!("`{path}` holds a secret in clear"),
       "write `{secret: NAME}`, put the value where secrets are kept, and change it: whoever \
           can read this repository has read it";

    #["A secret's name is malformed."]
    "secret-name" Error secret_name(name: &str)
    => format!("`{name}` is not the name of a secret"),
       "use 1 to 128 of letters, digits, `-`, `_` and `.`, beginning with a letter or digit";

    #["A name is malformed or too long."]
    "name-invalid" Error name_invalid(name: &str)
    => format!("`{name}` is not a name"),
       if name.len() > model::id::NAME_BYTES_MAX {
           format!("it has {} characters; at most {} are \
               possible", name.chars().count(), model::id::NAME_BYTES_MAX)
       } else {
           "use 1 to 63 of a-z, 0-9, `-` and `.`, beginning and ending with a letter or \
               digit".to_owned()
       };

    #["Two documents of one kind, or two resources of one application, have the same name."]
    "name-duplicate" Error name_duplicate(kind: &str, name: &str)
    => format!("there are two of {kind} `{name}`"),
       "rename one of them; if it is the same thing, keep one";

    #["A reference to something that does not exist."]
    "reference-unknown" Error reference_unknown(kind: &str, name: &str, known: &[&str])
    => format!("there is no {kind} `{name}`"),
       did_you_mean(nearest(name, known.iter().copied()), known);

    #["A resource's address is malformed."]
    "address-invalid" Error address_invalid(text: &str)
    => format!("`{text}` is not an address"),
       "write `application/resource`";

    #["A target is malformed or of a kind that does not exist."]
    "target-invalid" Error target_invalid(text: &str)
    => format!("`{text}` is not a target"),
       "write `host/NAME`, where NAME is a Host document";

    #["A target of a kind that this version does not act on."]
    "target-not-yet" Error target_not_yet(text: &str)
    => format!("`{text}` cannot be reached: this version does not act on clusters"),
       "use `host/NAME`";

    #["A duration is malformed."]
    "duration-malformed" Error duration_malformed(path: &str, text: &str)
    => format!("`{path}` is not a duration: `{text}`"),
       DURATION_SHAPE;

    #["A duration that must be more than nothing is nothing."]
    "duration-zero" Error duration_zero(path: &str)
    => format!("`{path}` must be longer than nothing"),
       DURATION_SHAPE;

    #["A size is malformed."]
    "size-malformed" Error size_malformed(path: &str, text: &str)
    => format!("`{path}` is not a size: `{text}`"),
       SIZE_SHAPE;

    #["An instant is malformed."]
    "instant-malformed" Error instant_malformed(path: &str, text: &str)
    => format!("`{path}` is not an instant: `{text}`"),
       "write date, time and zone, such as `2026-03-01T12:00:00Z`";

    #["A path is not absolute, or not in its simplest form."]
    "path-invalid" Error path_invalid(path: &str, text: &str, why: &str)
    => format!("`{path}` is not a usable path: `{text}` {why}"),
       "write an absolute path such as `/srv/data`, without `.`, `..`, `//` or a `/` at its end";

    #["A time zone that does not exist."]
    "time-zone-unknown" Error time_zone_unknown(name: &str, near: Option<&str>)
    => format!("there is no time zone `{name}`"),
       match near {
           Some(near) => format!("did you mean `{near}`?"),
           None => "write an IANA name such as `Europe/Amsterdam` or `UTC`".to_owned(),
       };

    #["A cron expression is malformed."]
    "cron-invalid" Error cron_invalid(text: &str, why: &str)
    => format!("`{text}` is not a schedule: {why}"),
       "write five cron fields such as `30 3 * * *`, or `@daily`, or `@every 1h`";

    #["A cron expression fits no instant."]
    "cron-never" Error cron_never(text: &str)
    => format!("`{text}` never fires: no date fits it"),
       "look at the day of the month and the month; write `@never` if that is meant";

    #["`@every` is too short or too long."]
    "interval-out-of-range" Error interval_out_of_range(text: &str, least: u64, most: u64)
    => format!("`{text}` is outside the possible intervals"),
       format!("write an interval from {} to \
           {}", units::duration_words(least), units::duration_words(most));

    #["A selector says nothing."]
    "selector-empty" Error selector_empty()
    => "the selector says nothing, so it is unclear what is meant",
       "write `application`, `resources`, `types` or `labels`, or `all: true`";

    #["A selector selects no resource."]
    "selector-nothing" Error selector_nothing(owner: &str)
    => format!("{owner} selects no resource"),
       "compare its fields with the applications: every field narrows";

    #["A Backup names no repository, and it is unclear which is meant."]
    "repositories-unclear" Error repositories_unclear(known: &[&str])
    => if known.is_empty() { "there is no Repository to back up to".to_owned() }
       else { format!("the Backup names no repositories, and there are {}", known.len()) },
       if known.is_empty() { "add a Repository document".to_owned() }
       else { format!("add `repositories`, of: {}", list(known)) };

    #["A list names the same thing twice."]
    "item-duplicate" Error item_duplicate(path: &str, text: &str)
    => format!("`{path}` names `{text}` twice"),
       "keep one of them";

    #["Retention rules of which none keeps anything."]
    "retention-keeps-nothing" Error retention_keeps_nothing()
    => "these rules keep nothing",
       "give at least one rule a number above 0, `forever`, `within` or `tags`";

    #["A repository lies nowhere, or in several places."]
    "storage-choice" Error storage_choice(count: usize)
    => match count {
        0 => "this says not where the repository lies".to_owned(),
        _ => format!("this says {count} places where the repository lies"),
    },
       "write exactly one of `local`, `s3`, `gcs`, `azure`, `sftp` and `rest`";

    #["A place on a storage service is malformed."]
    "storage-invalid" Error storage_invalid(path: &str, text: &str, why: &str, help: &str)
    => format!("`{path}` is not usable: `{text}` {why}"),
       help;

    #["Credentials of which a part is missing, or two kinds at once."]
    "storage-credentials" Error storage_credentials(path: &str, why: &str)
    => format!("`{path}` {why}"),
       "write one kind of credential with all its parts, or none to use the identity of the \
           machine";

    #["Credentials that go over the network unencrypted."]
    "storage-unencrypted" Warning storage_unencrypted(path: &str)
    => format!("`{path}` is no https://: whoever listens on the way learns the credentials"),
       "use https://, with `caFile` for a certificate of your own";

    #["Object lock that locks nothing, or without its mode."]
    "storage-object-lock" Error storage_object_lock(why: &str)
    => format!("`objectLock` {why}"),
       "write `mode` and `retain` together, or `legalHold: true`, or all three";

    #["Limits where there is nothing to limit."]
    "storage-limits" Error storage_limits(path: &str, why: &str)
    => format!("`{path}` {why}"),
       "leave it away for no limit";

    #["A repository lies where another one lies, or inside it."]
    "storage-shared" Error storage_shared(path: &str, other: &str)
    => format!("`{path}` is also where Repository `{other}` lies"),
       "give each repository a folder of its own";

    #["A repository's folder and a protected folder contain each other."]
    "storage-overlaps" Error storage_overlaps(path: &str, resource: &str)
    => format!("the repository's folder `{path}` and resource `{resource}` contain each other"),
       "move the repository elsewhere, or exclude its folder from the resource: a backup \
           must not back itself up, and what destroys the one must not destroy the other";

    #["A repository id is malformed."]
    "repository-id-malformed" Error repository_id_malformed(text: &str)
    => format!("`{text}` is not a repository id"),
       "write the 64 hex digits that `mainstay status` prints";

    #["A snapshot id is malformed."]
    "snapshot-id-malformed" Error snapshot_id_malformed(text: &str)
    => format!("`{text}` is not a snapshot id"),
       "write the 64 hex digits that `mainstay snapshots` prints";

    #["A token is empty, too long, or has characters that do not print."]
    "token-invalid" Error token_invalid(why: &str)
    => format!("the token {why}"),
       "write a short text such as a date and a ticket: `2026-03-01 INC-1042`";

    #["Of several fields exactly one must be there."]
    "one-of" Error one_of(path: &str, fields: &[&str])
    => format!("`{path}` must have exactly one of: {}", list(fields)),
       "keep the one that is meant";

    #["A Recovery that repeats and overwrites newer data, without saying that this is known."]
    "recovery-unacknowledged" Error recovery_unacknowledged()
    => "this recovery repeats for ever, and puts aside whatever is newer than its point each time",
       "add `acknowledgesNewerData: true` if that is meant, or remove `repeat`";

    #["Two Recoveries with one token."]
    "recovery-token-shared" Error recovery_token_shared(token: &str, other: &str)
    => format!("the token `{token}` is also that of Recovery `{other}`"),
       "give it one of its own: a token is served once, so one of the two would never be";

    #["An Erasure that does not say all that it must."]
    "erasure-invalid" Error erasure_invalid(why: &str)
    => why,
       "name the snapshots, two people who agreed and a cooling-off of at least `24h`";

    #["An Erasure of a resource that a Backup still protects."]
    "erasure-protected" Warning erasure_protected(resource: &str, backup: &str)
    => format!("Backup `{backup}` still makes snapshots of `{resource}`"),
       "take the resource out of its Backups first, or the next one brings the data back";

    #["Paths of a Recovery that cannot be brought back."]
    "recovery-paths" Error recovery_paths(why: &str)
    => why,
       "name files or folders of a tree, or remove `paths` to bring all of it back";

    #["A RecoveryPolicy that makes anew what no command can make."]
    "recreate-unknown" Error recreate_unknown(policy: &str, resource: &str, kind: &str)
    => format!("RecoveryPolicy `{policy}` remakes `{resource}`, and `{kind}` does not say how"),
       "give the commands as `with.recreate` or in the AgentTemplate, or answer otherwise";

    #["A Recovery from a repository into which its resource is not backed up."]
    "recovery-repository" Warning recovery_repository(resource: &str, repository: &str)
    => format!("no Backup puts `{resource}` into Repository `{repository}`"),
       "name one that has its snapshots, or none to use whichever has the point";

    #["A field that says nothing."]
    "text-empty" Error text_empty(path: &str)
    => format!("`{path}` is empty"),
       "say who and why: the person who meets it will want to ask";

    #["A `formerly` that is an address in use."]
    "formerly-in-use" Error formerly_in_use(text: &str)
    => format!("`{text}` cannot be a former address: there is such a resource"),
       "remove it, or rename the other resource: one history belongs to one resource";

    #["Two resources claim one former address."]
    "formerly-shared" Error formerly_shared(text: &str, other: &str)
    => format!("`{text}` is also claimed by `{other}`"),
       "one history belongs to one resource";

    #["Resources that depend on each other in a circle."]
    "dependency-cycle" Error dependency_cycle(path: &str)
    => format!("these resources wait for each other: {path}"),
       "remove one of the dependencies";

    #["A resource depends on itself."]
    "dependency-self" Error dependency_self(text: &str)
    => format!("`{text}` depends on itself"),
       "remove it";

    #["A resource that no Backup selects."]
    "resource-unprotected" Warning resource_unprotected(address: &str)
    => format!("no Backup selects `{address}`, so it is not protected"),
       "add it to a Backup's `select`";

    #["Two Backups of one resource into one repository with different retention."]
    "retention-conflict" Error retention_conflict(resource: &str, repository: &str, other: &str)
    => format!("`{resource}` is kept by other rules in Repository `{repository}` by Backup \
        `{other}`"),
       "give both the same retention, or use different repositories: the shorter would \
           remove what the longer keeps";

    #["No schedule can meet the RPO."]
    "rpo-unreachable" Warning rpo_unreachable(address: &str, rpo_s: u64, gap_s: u64)
    => format!("`{address}` promises an RPO of {}, and its backups lie up to {} apart",
           units::duration_words(rpo_s), units::duration_words(gap_s)),
       "back up more often, or promise less";

    #["No repositories can meet the copies objective."]
    "copies-unreachable" Warning copies_unreachable(address: &str, want: &str, have: &str)
    => format!("`{address}` promises {want}, and its backups give {have}"),
       "add repositories to its Backups, or promise less";

    #["Objectives that contradict themselves."]
    "objectives-invalid" Error objectives_invalid(why: &str)
    => why,
       "correct the numbers";

    #["A resource's type takes no such parameter."]
    "parameter-unknown" Error parameter_unknown(template: &str, key: &str, known: &[&str])
    => format!("type `{template}` has no parameter `{key}`"),
       did_you_mean(nearest(key, known.iter().copied()), known);

    #["A parameter that must be given is not."]
    "parameter-missing" Error parameter_missing(template: &str, key: &str, about: &str)
    => format!("type `{template}` needs the parameter `{key}`"),
       match about {
           "" => "add it under `with`".to_owned(),
           about => format!("add it under `with`: {about}"),
       };

    #["A parameter's value does not fit its type."]
    "parameter-invalid" Error parameter_invalid(key: &str, expected: &str)
    => format!("parameter `{key}` must be {expected}"),
       "";

    #["A parameter's value does not match its pattern."]
    "parameter-pattern" Error parameter_pattern(key: &str, pattern: &str)
    => format!("parameter `{key}` does not match `{pattern}`"),
       "";

    #["A parameter's default or pattern is wrong in the template itself."]
    "template-parameter" Error template_parameter(key: &str, why: &str)
    => format!("parameter `{key}` of the template {why}"),
       "correct the template";

    #["A text of a template is not a template, or names something that does not exist."]
    "template-invalid" Error template_invalid(why: &str)
    => format!("this template does not work: {why}"),
       "use the template's parameters, `token`, `scratch` and `facts.NAME`";

    #["A text of a template cannot be rendered for a resource."]
    "template-render" Error template_render(resource: &str, why: &str)
    => format!("for `{resource}` this renders to nothing usable: {why}"),
       "correct the template, or the resource's `with`";

    #["A secret would become an argument, which every user of the machine can read."]
    "secret-in-argument" Error secret_in_argument(name: &str)
    => format!("the secret parameter `{name}` would be an argument, which every user of the \
        machine can read"),
       "put it into `env` or `input`";

    #["A shell command is built from parameters."]
    "shell-with-parameters" Warning shell_with_parameters()
    => "a shell reads this text, and parameters become part of it",
       "name the program and its arguments, or hand values over in `env`";

    #["A template has no data: neither `tree` nor `streams`."]
    "template-without-data" Error template_without_data()
    => "the template has neither `tree` nor `streams`, so there is nothing to back up",
       "add one of them";

    #["A template has two kinds of data."]
    "template-data-twice" Error template_data_twice()
    => "the template has both `tree` and `streams`",
       "keep one of them; make two types of it if both are needed";

    #["A template with streams cannot bring them back, or with a tree names steps it does \
        not need."]
    "template-recovery" Error template_recovery(why: &str)
    => format!("the template {why}"),
       "a backup that cannot be brought back is none";
}

/// Returns what to do about a number or boolean where text is expected: follow the example that the
/// field's description gives, if it gives one, else quotes.
pub fn text_help(description: &str) -> String {
    let example = description.split("such as `").nth(1).and_then(|rest| rest.split('`').next());
    match example {
        Some(example) => format!("write a text such as `{example}`"),
        None => "put it in quotes to make it text".to_owned(),
    }
}

/// Returns the nearest of some names, if one is near enough to be what was meant.
pub fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let lower = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    names
        .filter(|name| name.len() <= 2 * NEAR_BYTES_MAX && word.len() <= NEAR_BYTES_MAX)
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .filter(|(far, _)| *far <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Longest word for which a nearest name is looked for: twice a name's length.
const NEAR_BYTES_MAX: usize = 128;

/// Returns how many insertions, removals, replacements and swaps of neighbours lie between two
/// words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

fn did_you_mean(near: Option<&str>, known: &[&str]) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none yet".to_owned(),
        None => format!("possible: {}", list(known)),
    }
}

fn list(names: &[&str]) -> String {
    let mut shown: Vec<String> =
        names.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    if names.len() > LISTED_MAX {
        shown.push(format!("and {} more", names.len() - LISTED_MAX));
    }
    shown.join(", ")
}
