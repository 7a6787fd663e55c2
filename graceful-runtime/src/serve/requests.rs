//! The requests in flight on one connection.

use slab::Slab;

use crate::lifecycle::request::InFlight;

/// All of them: one at most over HTTP/1, which costs no allocation, and many over HTTP/2.
#[derive(Debug, Default)]
pub(super) struct Requests {
    first: Option<InFlight>,
    others: Slab<InFlight>,
}

/// Where a request is: 0 is the first place. Small, as it is moved around with every response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u32);

impl Key {
    const FIRST: Self = Self(0);

    fn other(place: usize) -> Self {
        Self(u32::try_from(place + 1).expect("HTTP/2 has less than 2^31 streams"))
    }

    /// Returns the place among the others.
    fn place(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

impl Requests {
    #[inline]
    pub(super) fn insert(&mut self, request: InFlight) -> Key {
        match self.first {
            None => {
                self.first = Some(request);
                Key::FIRST
            }
            Some(_) => Key::other(self.others.insert(request)),
        }
    }

    /// Takes out a request, which is there until then.
    #[inline]
    pub(super) fn remove(&mut self, key: Key) -> Option<InFlight> {
        match key.place() {
            None => self.first.take(),
            Some(place) => self.others.try_remove(place),
        }
    }

    /// Notes that a request goes on as a stream of another protocol.
    pub(super) fn upgrade(&mut self, key: Key) {
        let request = match key.place() {
            None => self.first.as_mut(),
            Some(place) => self.others.get_mut(place),
        };
        if let Some(request) = request {
            request.is_upgraded = true;
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&InFlight> {
        match key.place() {
            None => self.first.as_ref(),
            Some(place) => self.others.get(place),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        let others = self.others.iter().map(|(_, request)| request);
        self.first.iter().chain(others)
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use hyper::http::uri::PathAndQuery;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn each_request_has_its_place() {
        let request = |path: &'static str| InFlight {
            started: Instant::now(),
            method: Method::GET,
            path: Some(PathAndQuery::from_static(path)),
            is_upgraded: false,
        };
        let mut requests = Requests::default();
        let keys = ["/a", "/b", "/c"].map(|path| requests.insert(request(path)));
        let names =
            |requests: &Requests| requests.iter().map(InFlight::to_string).collect::<Vec<_>>();
        assert_eq!(names(&requests), ["GET /a", "GET /b", "GET /c"]);
        assert_eq!(requests.remove(keys[0]).unwrap().to_string(), "GET /a");
        assert_eq!(names(&requests), ["GET /b", "GET /c"]);
        assert_eq!(requests.get(keys[1]).unwrap().to_string(), "GET /b");
        let again = requests.insert(request("/d"));
        assert_eq!(requests.get(again).unwrap().to_string(), "GET /d");
        for key in [keys[1], keys[2], again] {
            assert!(requests.remove(key).is_some());
        }
        assert_eq!(names(&requests), [""; 0]);
    }
}
