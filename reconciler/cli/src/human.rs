//! Times for people; sizes and durations are worded as plans word them.

use jiff::Timestamp;
pub use plan::render::{bytes, duration as seconds};

/// Returns an instant without fractions, in UTC.
pub fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Returns how long ago an instant is.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds_ago = now.as_second() - at.as_second();
    match u64::try_from(seconds_ago) {
        Ok(ago) => format!("{} ago", seconds(ago)),
        Err(_) => format!("in {}", seconds(seconds_ago.unsigned_abs())),
    }
}
