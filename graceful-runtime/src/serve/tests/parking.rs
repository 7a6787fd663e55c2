//! When a connection is parked, and when one that is idle, old or much used is ended.

use super::*;
use crate::serve::options::Life;

/// How long after a response a connection is parked.
const DELAY: Duration = Duration::from_millis(5);
/// More than the granularity of a timer.
const MOMENT: Duration = Duration::from_millis(2);

impl Pair {
    fn parked(&self) -> usize {
        self.shared.lifecycle().tally.parked()
    }

    /// Sends a request and reads its response.
    async fn ask(&mut self) -> String {
        self.send(GET).await;
        self.response().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_parks_and_is_served_again() {
    let mut pair = Pair::new();
    sleep(DELAY * 2).await;
    assert_eq!(pair.parked(), 0, "it was never served");
    for _ in 0..3 {
        assert!(pair.ask().await.contains("200 OK"));
        sleep(DELAY - MOMENT).await;
        assert_eq!(pair.parked(), 0);
        sleep(MOMENT * 2).await;
        assert_eq!(pair.parked(), 1);
        sleep(DELAY * 100).await;
    }
    pair.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    sleep(SLOW / 2).await;
    assert_eq!(pair.parked(), 0, "a handler is at work");
    assert!(pair.response().await.contains("200 OK"));
    drop(pair.client);
    sleep(MOMENT).await;
    assert_eq!(pair.shared.lifecycle().tally.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_to_come_is_not_parked() {
    let post = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 6\r\n\r\n123";
    for begun in ["GET / HT", post] {
        let mut pair = Pair::new();
        pair.send(&format!("{GET}{begun}")).await;
        assert!(pair.response().await.contains("200 OK"));
        sleep(DELAY * 10).await;
        assert_eq!(pair.parked(), 0, "{begun}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_again_soon_is_parked_later() {
    let mut pair = Pair::new();
    for _ in 0..2 {
        pair.ask().await;
        sleep(DELAY * 2).await;
    }
    pair.ask().await;
    sleep(DELAY + MOMENT).await;
    assert_eq!(pair.parked(), 0, "its delay has grown");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_at_its_limit_parked_or_not() {
    let limit = Duration::from_secs(10);
    for park_after in [DELAY, Duration::MAX] {
        let mut pair = Pair::with(Options {
            keep_alive_timeout: Some(limit),
            park_after,
            ..options()
        });
        sleep(limit / 2).await;
        assert!(pair.ask().await.contains("200 OK"));
        assert_eq!(pair.rest().await, (String::new(), limit));
    }
}

#[tokio::test]
async fn a_connection_that_was_busy_is_parked_too() {
    let mut pair = Pair::new();
    let begin = std::time::Instant::now();
    while begin.elapsed() < DELAY * 10 {
        pair.ask().await;
    }
    assert_eq!(pair.parked(), 0);
    while pair.parked() == 0 {
        sleep(DELAY).await;
    }
    assert!(pair.ask().await.contains("200 OK"));
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_an_idle_connection_stays() {
    let mut pair = Pair::with(Options {
        keep_alive_timeout: None,
        ..options()
    });
    for _ in 0..2 {
        assert!(pair.ask().await.contains("200 OK"));
        sleep(HEADER_TIMEOUT * 1000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_last_request_or_with_what_follows_it_at_once() {
    let options = Options {
        life: Some(Life {
            max_requests: Some(3),
            max_age: None,
        }),
        ..options()
    };
    let mut pair = Pair::with(options);
    for _ in 0..2 {
        assert!(!pair.ask().await.contains("connection: close"));
        sleep(DELAY * 2).await;
    }
    assert!(pair.ask().await.contains("connection: close"));
    assert_eq!(pair.rest().await.0, "");

    let mut pair = Pair::with(options);
    pair.send(&GET.repeat(5)).await;
    let (rest, _) = pair.rest().await;
    assert_eq!(count(&rest, "200 OK"), 5, "{rest}");
    assert_eq!(count(&rest, "connection: close"), 1, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_the_first_response_after_its_age() {
    let age = Duration::from_secs(20);
    let options = Options {
        life: Some(Life {
            max_requests: None,
            max_age: Some(age),
        }),
        keep_alive_timeout: None,
        ..options()
    };
    let mut pair = Pair::with(options);
    sleep(age / 10 * 8).await;
    assert!(!pair.ask().await.contains("close"));
    // It is idle, and not closed for that.
    sleep(age).await;
    assert_eq!(pair.parked(), 1);
    assert!(pair.ask().await.contains("connection: close"));
    assert_eq!(pair.rest().await.0, "");
}

#[test]
fn ages_are_spread() {
    let shared = Pair::server(options());
    let age = Duration::from_secs(100);
    let begin = Instant::now();
    let spread: Vec<_> = (0..1000)
        .map(|millis| begin + Duration::from_millis(millis))
        .map(|accepted| shared.policy.spread(age, accepted))
        .collect();
    let [tenth, least, most] = [age / 10, age / 10 * 9, age / 10 * 11];
    assert!(spread.iter().all(|age| (least..=most).contains(age)));
    let early = spread.iter().filter(|spread| **spread < least + tenth / 2);
    let late = spread.iter().filter(|spread| **spread > most - tenth / 2);
    assert!(early.count() > 100 && late.count() > 100);
}

#[tokio::test(start_paused = true)]
async fn no_age_is_too_long() {
    for _ in 0..10 {
        let mut pair = Pair::with(Options {
            life: Some(Life {
                max_requests: None,
                max_age: Some(Duration::MAX),
            }),
            ..options()
        });
        assert!(pair.ask().await.contains("200 OK"));
        sleep(MOMENT).await;
        assert!(!pair.ask().await.contains("close"));
    }
}
