//! Whose turn it is: networks take turns, and in each network its clients; a client's own come in order.
//!
//! A client is an IPv4 address or an IPv6 /64, a network an IPv4 /24 or an IPv6 /48. So a client waits for one turn of each
//! other that waits, however many those have in line. Where there is no room, the client gives way that has most in line
//! in the network that has most.
//!
//! Never: a clock, a lock, what it is that waits.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_access::ClientKey;

/// Those who wait.
pub(super) struct Turns<T> {
    /// The next comes first. Short, so that looking for one is cheap.
    networks: VecDeque<Network<T>>,
    waiting: usize,
    most: usize,
    most_each: usize,
}

struct Network<T> {
    key: IpAddr,
    /// Never empty, nor is a line of theirs.
    clients: VecDeque<Client<T>>,
}

struct Client<T> {
    key: ClientKey,
    line: VecDeque<T>,
}

impl<T> Turns<T> {
    /// Nobody waits; at most `most` will, and of one client at most `most_each`.
    pub(super) const fn new(most: usize, most_each: usize) -> Turns<T> {
        Turns {
            networks: VecDeque::new(),
            waiting: 0,
            most,
            most_each,
        }
    }

    /// Lines `one` up. The answer is who has to give way, if one has: perhaps the same.
    pub(super) fn wait(&mut self, client: IpAddr, one: T) -> Option<T> {
        let client = client.to_canonical();
        let most_each = self.most_each;
        let line = self.line(client);
        if line.len() >= most_each {
            return Some(one);
        }
        line.push_back(one);
        self.waiting += 1;
        self.make_room()
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        let mut network = self.networks.pop_front()?;
        let mut client = network.clients.pop_front()?;
        let one = client.line.pop_front();
        self.waiting -= usize::from(one.is_some());
        if !client.line.is_empty() {
            network.clients.push_back(client);
        }
        if !network.clients.is_empty() {
            self.networks.push_back(network);
        }
        one
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        self.networks.clear();
        self.waiting = 0;
    }

    /// The client's line, a new one at the end where it has none.
    fn line(&mut self, client: IpAddr) -> &mut VecDeque<T> {
        let network = of_or_new(
            &mut self.networks,
            |network| network.key == network_of(client),
            || Network {
                key: network_of(client),
                clients: VecDeque::new(),
            },
        );
        let key = ClientKey::from(client);
        let found = of_or_new(
            &mut network.clients,
            |client| client.key == key,
            || Client {
                key,
                line: VecDeque::new(),
            },
        );
        &mut found.line
    }

    /// Takes out the newest of the longest line in the fullest network, if one too many waits.
    fn make_room(&mut self) -> Option<T> {
        if self.waiting <= self.most {
            return None;
        }
        let fullest = self.networks.iter().enumerate();
        let (at, _) = fullest.max_by_key(|(_, network)| network.waiting())?;
        let network = &mut self.networks[at];
        let longest = network.clients.iter().enumerate();
        let (of, _) = longest.max_by_key(|(_, client)| client.line.len())?;
        let line = &mut network.clients[of].line;
        let newest = line.pop_back();
        self.waiting -= usize::from(newest.is_some());
        if line.is_empty() {
            network.clients.remove(of);
        }
        if network.clients.is_empty() {
            self.networks.remove(at);
        }
        newest
    }
}

impl<T> Network<T> {
    fn waiting(&self) -> usize {
        self.clients.iter().map(|client| client.line.len()).sum()
    }
}

fn of_or_new<E>(
    all: &mut VecDeque<E>,
    is_it: impl Fn(&E) -> bool,
    new: impl FnOnce() -> E,
) -> &mut E {
    let at = all.iter().position(is_it).unwrap_or_else(|| {
        all.push_back(new());
        all.len() - 1
    });
    &mut all[at]
}

fn network_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (!0 << 80)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// All of them in the order of their turns.
    fn order(turns: &mut Turns<&'static str>) -> String {
        let all: Vec<&str> = std::iter::from_fn(|| turns.next()).collect();
        assert_eq!((turns.waiting, turns.networks.len()), (0, 0));
        all.join(" ")
    }

    fn lined_up(
        most: usize,
        most_each: usize,
        all: &[(&str, &'static str)],
    ) -> Turns<&'static str> {
        let mut turns = Turns::new(most, most_each);
        for &(client, one) in all {
            assert_eq!(turns.wait(ip(client), one), None, "{one}");
        }
        turns
    }

    #[test]
    fn networks_take_turns_and_so_do_their_clients() {
        let mut turns = lined_up(
            99,
            9,
            &[
                ("192.0.2.1", "a1"),
                ("192.0.2.1", "a2"),
                ("192.0.2.1", "a3"),
                ("192.0.2.2", "b1"),
                ("198.51.100.1", "c1"),
                ("::ffff:198.51.100.1", "c2"),
                ("2001:db8:1::1", "d1"),
                ("2001:db8:1:0:9::", "d2"),
                ("2001:db8:1:1::1", "e1"),
                ("2001:db8:2::1", "f1"),
            ],
        );
        assert_eq!(order(&mut turns), "a1 c1 d1 f1 b1 c2 e1 a2 d2 a3");
    }

    #[test]
    fn a_flood_costs_another_one_turn() {
        let mut turns = Turns::new(512, 64);
        for _ in 0..1000 {
            turns.wait(ip("192.0.2.1"), "flood");
        }
        assert_eq!(turns.waiting, 64);
        assert_eq!(turns.next(), Some("flood"));
        turns.wait(ip("192.0.2.2"), "neighbour");
        turns.wait(ip("198.51.100.1"), "honest");
        let next: Vec<_> = std::iter::from_fn(|| turns.next()).take(4).collect();
        assert_eq!(next, ["flood", "honest", "neighbour", "flood"]);
    }

    #[test]
    fn who_comes_again_and_again_starves_nobody() {
        let mut turns = lined_up(9, 9, &[("192.0.2.1", "honest"), ("192.0.2.1", "honest")]);
        let mut honest = 0;
        for _ in 0..6 {
            // Each time it has nothing in line.
            turns.wait(ip("198.51.100.1"), "eager");
            honest += usize::from(turns.next() == Some("honest"));
        }
        assert_eq!(honest, 2);
    }

    #[test]
    fn the_longest_line_of_the_fullest_network_gives_way() {
        let mut turns = lined_up(
            6,
            4,
            &[
                ("192.0.2.1", "a1"),
                ("192.0.2.1", "a2"),
                ("192.0.2.1", "a3"),
                ("192.0.2.2", "b1"),
                ("198.51.100.1", "c1"),
                ("198.51.100.1", "c2"),
            ],
        );
        assert_eq!(turns.wait(ip("203.0.113.1"), "d1"), Some("a3"));
        assert_eq!(turns.wait(ip("192.0.2.1"), "a4"), Some("a4"), "its own");
        assert_eq!(turns.wait(ip("192.0.2.2"), "b2"), Some("b2"), "its own");
        assert_eq!(turns.wait(ip("203.0.113.1"), "d2"), Some("a2"));
        assert_eq!(turns.waiting, 6);
        assert_eq!(order(&mut turns), "a1 c1 d1 b1 c2 d2");
    }

    #[test]
    fn a_client_has_a_bound_of_its_own() {
        let mut turns = lined_up(9, 2, &[("192.0.2.1", "a1"), ("192.0.2.1", "a2")]);
        assert_eq!(turns.wait(ip("192.0.2.1"), "a3"), Some("a3"));
        assert_eq!(turns.wait(ip("192.0.2.2"), "b1"), None);
        assert_eq!(order(&mut turns), "a1 b1 a2");
    }

    #[test]
    fn newcomers_wait_where_everybody_has_one() {
        let mut turns = lined_up(2, 2, &[("192.0.2.1", "a1"), ("198.51.100.1", "b1")]);
        assert_eq!(turns.wait(ip("203.0.113.1"), "c1"), Some("c1"));
        assert_eq!(order(&mut turns), "a1 b1");
    }
}
