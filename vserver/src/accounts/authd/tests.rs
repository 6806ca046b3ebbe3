//! A worker's side of the conversation, against an authd that says what a test tells it to.

#![allow(clippy::unwrap_used)]

use std::os::fd::AsFd;

use tokio::task::JoinHandle;

use super::*;

/// An authd that has said `Hello`, and its end of the link.
async fn greeted() -> (Arc<Authd>, Packets) {
    let (near, far) = Link::pair().unwrap();
    let authd = Authd::new(Some(near.as_fd().try_clone_to_owned().unwrap()));
    drop(near);
    let far = Packets::new(far).unwrap();
    // The first question makes the conversation begin.
    authd.orders().unwrap();
    assert!(matches!(heard(&far).await, Question::Hello { .. }));
    far.send(&Answer::Hello { version: VERSION }).await.unwrap();
    (authd, far)
}

async fn heard(far: &Packets) -> Question {
    match far.receive().await.unwrap() {
        Received::Packet(question, _) => question,
        Received::Closed => panic!("the worker hung up"),
    }
}

fn find(exchange: u32, name: &str) -> Question {
    Question::Find {
        exchange,
        name: name.to_owned(),
        domains: Vec::new(),
    }
}

fn told(exchange: u32, why: &str) -> Answer {
    Answer::Unavailable {
        exchange,
        name: None,
        why: why.to_owned(),
    }
}

/// Asks in a task of its own; the task ends with the answer, and aborted gives up.
fn asking(authd: &Arc<Authd>, name: &str) -> (u32, JoinHandle<Result<Answer, String>>) {
    let mut asked = authd.begin();
    let exchange = asked.exchange;
    let question = find(exchange, name);
    (
        exchange,
        tokio::spawn(async move { asked.ask(question).await }),
    )
}

#[tokio::test]
async fn answers_find_their_questions_in_any_order() {
    let (authd, far) = greeted().await;
    let asked: Vec<_> = ["a", "b", "c"].map(|name| asking(&authd, name)).into();
    let mut questions = Vec::new();
    for _ in &asked {
        questions.push(heard(&far).await.exchange().unwrap());
    }
    for exchange in questions.into_iter().rev() {
        far.send(&told(exchange, &exchange.to_string()))
            .await
            .unwrap();
    }
    for (exchange, answer) in asked {
        assert_eq!(
            answer.await.unwrap(),
            Ok(told(exchange, &exchange.to_string()))
        );
    }
}

#[tokio::test]
async fn who_waits_is_told_when_the_authd_hangs_up() {
    let (authd, far) = greeted().await;
    let (_, answer) = asking(&authd, "a");
    heard(&far).await;
    drop(far);
    let why = answer.await.unwrap().unwrap_err();
    assert!(why.contains("not running"), "{why}");
    let (_, late) = asking(&authd, "b");
    assert!(late.await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let (authd, far) = greeted().await;
    let (given_up, task) = asking(&authd, "a");
    assert_eq!(heard(&far).await, find(given_up, "a"));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The authd is told, and has answered already.
    assert_eq!(heard(&far).await, Question::Drop { exchange: given_up });
    far.send(&told(given_up, "late")).await.unwrap();
    let (exchange, answer) = asking(&authd, "b");
    assert_eq!(heard(&far).await, find(exchange, "b"));
    far.send(&told(exchange, "in time")).await.unwrap();
    assert_eq!(answer.await.unwrap(), Ok(told(exchange, "in time")));
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_asked_once_there_is_room() {
    let (authd, far) = greeted().await;
    // Long names fill the link before all have been said.
    let long = "x".repeat(30_000);
    let asked: Vec<_> = (0..40).map(|_| asking(&authd, &long)).collect();
    let numbers: Vec<u32> = asked.iter().map(|(exchange, _)| *exchange).collect();
    // Until nothing moves any more: the link is full, and a question waits in hand.
    let orders = authd.orders().unwrap();
    let (mut before, mut still) = (WAITING, 0);
    while before == WAITING || still < 1000 {
        tokio::task::yield_now().await;
        let now = orders.capacity();
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    for (_, task) in asked {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    let (last, answer) = asking(&authd, "last");
    let mut said = Vec::new();
    loop {
        match heard(&far).await {
            Question::Find { exchange, .. } if exchange == last => break,
            Question::Find { exchange, .. } => said.push(exchange),
            Question::Drop { exchange } => assert!(numbers.contains(&exchange)),
            other => panic!("{other:?}"),
        }
    }
    assert!(said.len() < numbers.len(), "{said:?}");
    far.send(&told(last, "here")).await.unwrap();
    assert_eq!(answer.await.unwrap(), Ok(told(last, "here")));
}

#[test]
fn nobody_is_waited_for_who_has_given_up() {
    let order = |exchange| {
        let (answer, answered) = oneshot::channel();
        let question = find(exchange, "a");
        let answer = Some(answer);
        (Order { question, answer }, answered)
    };
    let mut waiting = Waiting::default();
    let (first, _waits) = order(0);
    waiting.put(first);
    waiting.forget(&find(0, "a"));
    assert_eq!(waiting.0.len(), 1);
    waiting.forget(&Question::Drop { exchange: 0 });
    assert!(waiting.0.is_empty());
    // Without a `Drop`, too.
    for exchange in 0..1000 {
        waiting.put(order(exchange).0);
        assert!(waiting.0.len() <= WAITING);
    }
}
