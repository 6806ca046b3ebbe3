//! Whatever a peer sends is read, or refused with words: never a panic.

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../../../tests/fuzz/verify_wire.rs"]
mod verify_wire;

#[test]
fn mutated_peers_are_read_or_refused() {
    let seeds: &[&[u8]] = &[
        b"220 mx.example.com ESMTP\r\n250-mx.example.com\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
        b"250-a\n250 b\n354 go on\r\n421\r\n",
        &[
            22, 3, 3, 0, 4, 2, 0, 0, 0, 20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 2, 7, 7,
        ],
        &[22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1, 21, 3, 1, 0, 2, 2, 70],
        b"AUTH PLAIN AGFsaWNlAHdvbmRlci5sYW5kLTE=\r\n",
    ];
    let words: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"250-",
        b"250 ",
        b"\0",
        b"\x1b[2J",
        "\u{202e}".as_bytes(),
        &[22, 3, 1],
        &[0xff; 40],
        &[b'2'; 3000],
    ];
    mutate::play(seeds, words, 30_000, verify_wire::peer);
}
