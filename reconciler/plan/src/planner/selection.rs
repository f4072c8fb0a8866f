//! Chooses the point that a restore brings back, and says what it loses.

use model::desired::{Point, Recovery};
use model::id::{Address, Name};
use model::observed::Observation;
use model::plan::Loss;
use model::receipt::Marker;

use super::{Draft, ids};
use crate::view::PointRef;

/// A chosen point.
pub(super) struct Chosen<'a> {
    pub(super) point: PointRef<'a>,
    /// Its stored bytes were read again.
    pub(super) proven: bool,
    pub(super) reason: String,
}

/// The newest proven point that `accepts` lets pass; while none is proven, the newest complete one,
/// which is then verified first. Where nothing is there that could be lost, a point that a wrong
/// clock stamped in the future is better than none. A point whose verification failed steps back
/// behind all others, one that is not tried again yet behind those that are.
pub(super) fn newest<'a>(
    draft: &Draft<'_, 'a>,
    address: &Address,
    accepts: impl Fn(&PointRef<'a>) -> bool,
) -> Option<Chosen<'a>> {
    let backoff = |p: &PointRef<'_>| {
        let step = ids::verify(address, p.repository, p.id());
        draft.view.observed.memory.backoff.get(step.as_str()).filter(|_| !p.proven)
    };
    let hopeful = |p: &PointRef<'_>| backoff(p).is_none();
    let due = |p: &PointRef<'_>| backoff(p).is_none_or(|failed| !draft.view.is_put_off(failed));
    let best = |may: &dyn Fn(&PointRef<'_>) -> bool| {
        newest_in_time(draft, address, &accepts, may)
            .or_else(|| astray(draft, address, |p| accepts(p) && may(p)))
    };
    best(&hopeful).or_else(|| best(&due)).or_else(|| best(&|_| true))
}

fn astray<'a>(
    draft: &Draft<'_, 'a>,
    address: &Address,
    accepts: impl Fn(&PointRef<'a>) -> bool,
) -> Option<Chosen<'a>> {
    let view = draft.view;
    if !holds_nothing(view.observed.resources.get(address)) {
        return None;
    }
    let point = view
        .best_astray(address, |p| accepts(p) && p.proven)
        .or_else(|| view.best_astray(address, &accepts))?;
    let reason = format!(
        "every point that fits is stamped in the future by a clock that was wrong; the newest is \
         {} of {}",
        point.id().short(),
        point.taken_at()
    );
    Some(Chosen { point, proven: point.proven, reason })
}

/// Whether nothing is in a place that could be lost; a wrong clock's stamp is no harm there.
pub(crate) fn holds_nothing(seen: Option<&Observation>) -> bool {
    matches!(seen, Some(Observation::Absent { .. } | Observation::Known { entries: Some(0), .. }))
}

fn newest_in_time<'a>(
    draft: &Draft<'_, 'a>,
    address: &Address,
    accepts: &impl Fn(&PointRef<'a>) -> bool,
    may: &dyn Fn(&PointRef<'_>) -> bool,
) -> Option<Chosen<'a>> {
    let view = draft.view;
    if let Some(point) = view.best(address, |p| accepts(p) && may(p) && p.proven) {
        let newer = view.best(address, |p| accepts(p) && p.taken_at() > point.taken_at());
        let mut reason = format!(
            "the newest proven point that fits is {} of {}",
            point.id().short(),
            point.taken_at()
        );
        if let Some(newer) = newer {
            reason.push_str(&format!(
                "; {} of {} is newer and not proven",
                newer.id().short(),
                newer.taken_at()
            ));
        }
        return Some(Chosen { point, proven: true, reason });
    }
    let point = view.best(address, |p| accepts(p) && may(p))?;
    let reason = format!(
        "no point that fits is proven, so the newest complete one, {} of {}, is verified first",
        point.id().short(),
        point.taken_at()
    );
    Some(Chosen { point, proven: false, reason })
}

/// The point that a recovery document asks for.
pub(super) fn for_document<'a>(
    draft: &Draft<'_, 'a>,
    document: &Recovery,
) -> Result<Chosen<'a>, (&'static str, String)> {
    let view = draft.view;
    let address = &document.resource;
    let in_repository =
        |p: &PointRef<'_>| document.repository.as_ref().is_none_or(|name| name == p.repository);
    let chosen = match &document.point {
        Point::Latest => newest(draft, address, in_repository),
        Point::AtOrBefore(at) => {
            newest(draft, address, |p| in_repository(p) && p.taken_at() <= *at)
        }
        Point::Snapshot(id) => view
            .points(address)
            .find(|p| in_repository(p) && p.id().is_named_by(&id.to_string()))
            .map(|point| Chosen {
                point,
                proven: point.proven,
                reason: format!(
                    "the document names point {} of {}",
                    point.id().short(),
                    point.taken_at()
                ),
            }),
    };
    chosen.ok_or_else(|| no_point(draft, address, document.repository.as_ref()))
}

/// Why no point was found: because there is none, or because a repository could not be read.
pub(super) fn no_point(
    draft: &Draft<'_, '_>,
    address: &Address,
    repository: Option<&Name>,
) -> (&'static str, String) {
    let unread = draft
        .view
        .repositories_of(address)
        .into_iter()
        .filter(|name| repository.is_none_or(|only| only == *name))
        .find_map(|name| draft.view.state(name).trouble().map(|(code, why)| (code, name, why)));
    match unread {
        Some((code, name, why)) => {
            (code, format!("no point was found, and repository {name}: {why}"))
        }
        None => ("NoPoint", "there is no such point".to_owned()),
    }
}

/// What a restore of a point loses: all that came after it, in the words of the resource. Where a
/// resource went back, the point lies ahead of it, and what grows again is no loss.
pub(super) fn loss(draft: &Draft<'_, '_>, address: &Address, point: &PointRef<'_>) -> Loss {
    let view = draft.view;
    let after = point.taken_at();
    let seconds = u64::try_from(view.now.duration_since(after).as_secs()).unwrap_or(0);
    let known = match view.observed.resources.get(address) {
        Some(Observation::Known { marker, .. }) => Some(marker),
        _ => view.baseline(address).map(|baseline| baseline.marker),
    };
    let detail = match (known, point.receipt()) {
        (Some(known), Some(receipt)) => differences(known, &receipt.marker),
        _ => Vec::new(),
    };
    Loss { after, seconds, detail }
}

fn differences(from: &Marker, to: &Marker) -> Vec<String> {
    let mut lines = Vec::new();
    for (word, from, to) in
        [("counter", &from.counters, &to.counters), ("count", &from.counts, &to.counts)]
    {
        for (name, was) in from {
            match to.get(name) {
                Some(is) if is < was => lines.push(format!("{word} {name} {was} → {is}")),
                None => lines.push(format!("{word} {name} {was} → not in the point")),
                Some(_) => {}
            }
        }
    }
    lines
}
