//! The fuzz target of `tests/fuzz/control.rs` on a stable compiler.

#[path = "../../../tests/fuzz/control.rs"]
mod control;
#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

const SEEDS: [&[u8]; 12] = [
    br#"{"Hello":{"version":1}}"#,
    br#"{"Begin":{"server":"mx1","state":"/s","manifest":{"items":[{"Definition":{"path":"d"}},{"Listener":{"identity":{"address":"192.0.2.1:25","tls":"implicit"}}}],"missing":[{"path":"k","error":"e"}]},"paused":false}}"#,
    br#"{"Drain":{"deadline":{"secs":5,"nanos":0},"gently":true}}"#,
    br#"{"Refused":{"findings":[{"severity":"error","path":"p","place":{"line":1,"column":2,"start":3,"end":4},"what":"w","remedy":"r"}]}}"#,
    br#"{"Alive":{"sessions":3,"queued":4}}"#,
    br#"{"List":{"after":"mx1"}}"#,
    br#"{"Servers":{"host":{"isolated":true,"version":"1","pid":1,"since":2,"note":""},"rows":[{"name":"mx1","state":"running","addresses":["[::1]:25"],"pid":1,"uid":2,"sessions":3,"queued":4,"since":5,"description":"","detail":""}],"more":false}}"#,
    br#"{"Delete":{"which":{"Destination":"example.com"},"notify":true}}"#,
    br#"{"Queue":{"rows":[{"id":"A","received":1,"size":2,"sender":"","recipients":["a@b"],"recipient_count":1,"state":"retry","next_try":null,"attempts":0,"last_reply":"x","destination":"b"}],"more":false}}"#,
    br#"{"Begin":{"exchange":7,"mechanism":"GSS-SPNEGO","initial":"4e544c4d53535000","terms":{"host":"mx1.corp.example","end_points":["00ff"],"exporter":null,"binding_required":true,"ntlm":true,"domains":["CORP"]}}}"#,
    br#"{"Password":{"exchange":8,"name":"CORP\\alice","password":"707764","domains":[]}}"#,
    br#"{"Account":{"exchange":7,"account":{"name":"alice","domain":"CORP","groups":["staff"],"authzid":null,"proof":"NTLM","bound":false}}}"#,
];

const WORDS: [&[u8]; 16] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"-1",
    b"1e9",
    b"99999999999999999999",
    b"\xff",
    b"\\u0000",
    b"\"Ready\"",
    b"\"Pause\"",
    b"\"mx1\"",
];

#[test]
fn packets_survive() {
    mutate::play(&SEEDS, &WORDS, 2_000, control::packet);
}
