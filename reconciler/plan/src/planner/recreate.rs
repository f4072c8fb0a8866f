//! Makes a resource anew where a policy says so: by the commands of its type, from what is declared
//! elsewhere, and without any point.

use model::desired::RecoveryPolicy;
use model::digest::Digest;
use model::id::Address;
use model::plan::{Action, Condition, Estimate, Precondition, Step};

use super::recovery::{blocked, describe};
use super::restore::{before, place};
use super::{Draft, ids, selection};

/// Plans it, unless its type has no commands for it or something that it depends on is missing.
pub(super) fn recreate(
    draft: &mut Draft<'_, '_>,
    address: &Address,
    condition: &Condition,
    policy: &RecoveryPolicy,
) {
    let id = ids::recreate(address);
    let Some(resource) = draft.view.desired.resources.get(address) else { return };
    if resource.agent.recreate.is_empty() {
        let reason = format!(
            "it is {}, and its type {} has no command that makes it anew",
            condition.word(),
            resource.agent.template
        );
        draft.defer(id, "RecreateUnsupported", reason);
        return;
    }
    if let Some(reason) = blocked(draft, address) {
        draft.defer(id, "DependencyNotHealthy", reason);
        return;
    }
    let (over, class, unmoved) = place(draft, address, None);
    let mut reasons = vec![
        format!("the resource is {}", describe(condition)),
        format!("policy {} makes it anew", policy.name),
    ];
    reasons.push(match selection::newest(draft, address, |_| true) {
        Some(chosen) => format!(
            "no point is put in; the newest, {} of {}, stays",
            chosen.point.id().short(),
            chosen.point.taken_at()
        ),
        None => "it has no point that could be put in".to_owned(),
    });
    let mut preconditions: Vec<Precondition> = unmoved.into_iter().collect();
    preconditions.push(Precondition::NoOtherRecovery { resource: address.clone(), token: None });
    let needs = before(draft, address);
    let baseline = draft.view.baseline(address).map(|b| (b.at, b.marker.clone()));
    let token = Digest::of("recreation-token", &(address, condition.word(), baseline));
    draft.restores.insert(address.clone(), id.clone());
    draft.busy.entry(address.clone()).or_insert_with(|| format!("{id} is planned"));
    draft.add(Step {
        id,
        action: Action::Recreate {
            resource: address.clone(),
            token: format!("anew-{}", token.short()),
            over,
        },
        class,
        reasons,
        preconditions,
        needs,
        estimate: Estimate::default(),
        loss: None,
        waits: Vec::new(),
    });
}
