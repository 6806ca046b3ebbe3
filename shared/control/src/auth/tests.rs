use super::*;

#[test]
fn a_blob_is_what_it_was_and_tells_nothing() {
    let blob = Blob((0..=255).collect());
    let text = serde_json::to_string(&blob).expect("text");
    assert_eq!(text.len(), 2 + 512);
    assert_eq!(serde_json::from_str::<Blob>(&text).expect("octets"), blob);
    assert_eq!(format!("{blob:?}"), "256 octets");
    for wrong in ["\"0\"", "\"0g\"", "\"é\"", "7", "\"00 \""] {
        assert!(serde_json::from_str::<Blob>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_longest_blob_fits_in_a_packet() {
    let question = Question::Respond {
        exchange: u32::MAX,
        response: Blob(vec![0xff; 9216]),
    };
    let text = serde_json::to_vec(&question).expect("text");
    assert!(text.len() < crate::LONGEST);
    assert_eq!(
        serde_json::from_slice::<Question>(&text).expect("it"),
        question
    );
}
