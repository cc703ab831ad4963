//! Tracking that a stream wants and a provider does not let it switch.

use super::*;

#[test]
fn tracking_that_a_target_cannot_switch_is_a_warning_at_the_streams_key() {
    let with = |keys: &str| {
        GOOD.replace(
            "route = \"tx\"\n[routes",
            &format!("route = \"tx\"\n{keys}\n[routes"),
        )
    };
    for (keys, warned) in [
        ("track_opens = false\ntrack_clicks = false", false),
        ("track_clicks = true", true),
    ] {
        let outcome = read_texts(&[&with(keys)], &[]);
        assert!(outcome.config.is_some());
        let said = said(&outcome);
        let warning = "streams.tx.track_clicks: cannot be switched at box message by message: \
                       clicks are not tracked there";
        assert_eq!(
            said.iter().any(|s| s.ends_with(warning)),
            warned,
            "{said:?}"
        );
        assert_eq!(said.len(), usize::from(warned), "{said:?}");
    }
}
