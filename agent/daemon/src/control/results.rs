//! What became of orders: so that one that comes again is answered, and not carried out again.

use std::collections::{BTreeMap, VecDeque};

use reeve_policy::{OrderId, OrderResult};

/// The last orders and their results.
#[derive(Debug, Default)]
pub struct Results {
    /// `None` while it is being carried out.
    known: BTreeMap<OrderId, Option<OrderResult>>,
    order: VecDeque<OrderId>,
    /// Results to send on this connection.
    unsent: VecDeque<OrderResult>,
}

/// What is to be done with an order that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is new: carry it out.
    New,
    /// It was carried out, or is being: its result will be sent.
    Known,
}

impl Results {
    /// How many orders are remembered.
    pub const CAPACITY: usize = 1_024;

    /// An order came.
    pub fn arrive(&mut self, id: &OrderId) -> Arrival {
        match self.known.get(id) {
            Some(Some(result)) => {
                self.unsent.push_back(result.clone());
                return Arrival::Known;
            }
            Some(None) => return Arrival::Known,
            None => {}
        }
        // One that is being carried out is not forgotten: it would be carried out again.
        let is_finished = |id: &OrderId| matches!(self.known.get(id), Some(Some(_)));
        if self.order.len() >= Self::CAPACITY
            && let Some(place) = self.order.iter().position(is_finished)
            && let Some(oldest) = self.order.remove(place)
        {
            self.known.remove(&oldest);
        }
        self.known.insert(id.clone(), None);
        self.order.push_back(id.clone());
        Arrival::New
    }

    /// An order has been carried out, or not.
    pub fn finish(&mut self, result: OrderResult) {
        if let Some(place) = self.known.get_mut(&result.id) {
            *place = Some(result.clone());
        }
        self.unsent.push_back(result);
    }

    /// The next result to send.
    pub fn next_to_send(&mut self) -> Option<OrderResult> {
        self.unsent.pop_front()
    }

    /// Whether there is anything to send.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// A new connection. What the controller has no result of it sends again, and is answered then.
    pub fn rewind(&mut self) {
        self.unsent.clear();
    }
}

#[cfg(test)]
mod tests {
    use reeve_policy::Timestamp;

    use super::*;

    #[test]
    fn an_order_is_carried_out_once_and_answered_each_time() {
        let mut results = Results::default();
        let id = OrderId("o1".parse().unwrap());
        assert_eq!(results.arrive(&id), Arrival::New);
        assert_eq!(results.arrive(&id), Arrival::Known);
        assert!(!results.has_unsent());
        results.finish(OrderResult { id: id.clone(), at: Timestamp::EPOCH, result: Ok(()) });
        assert!(results.next_to_send().is_some());
        results.rewind();
        assert_eq!(results.arrive(&id), Arrival::Known);
        assert!(results.next_to_send().is_some());
    }

    #[test]
    fn only_the_last_ones_are_remembered_and_none_is_forgotten_before_its_end() {
        let mut results = Results::default();
        let id = |number: usize| OrderId(format!("o{number}").parse().unwrap());
        let finish = |results: &mut Results, number| {
            results.finish(OrderResult { id: id(number), at: Timestamp::EPOCH, result: Ok(()) });
        };
        for number in 0..=Results::CAPACITY {
            assert_eq!(results.arrive(&id(number)), Arrival::New);
            if number > 0 {
                finish(&mut results, number);
            }
        }
        assert_eq!(results.known.len(), Results::CAPACITY);
        assert_eq!(results.arrive(&id(0)), Arrival::Known, "still being carried out");
        assert_eq!(results.arrive(&id(1)), Arrival::New, "forgotten");
    }
}
