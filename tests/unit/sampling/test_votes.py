"""The queue hands out every sample that is wanted once, in blocks, whoever counts when."""

from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dds.sampling.votes import (
    NOT_WANTED,
    Queue,
    Segment,
    Votes,
    length,
    places,
    split,
)
from dds.seeds import BLOCK, ESTIMATION, SELECTION

IMAGES, CLASSIFIERS, CLASSES = 4, 3, 2


class Plan:
    """Wants the next of an image's goals each time it is asked, whatever the votes."""

    def __init__(self, n0, goals):
        self.n0 = n0
        self.goals = goals  # by label and selected class, rising
        self.asked = Counter()

    def goal(self, label, selection, estimation):
        assert selection.sum() == self.n0
        self.asked[label] += 1
        drawn = estimation.sum()
        goals = self.goals[label][int(selection.argmax())]
        assert drawn == 0 or drawn in goals
        return next((goal for goal in goals if goal > drawn), drawn)


rising = st.lists(st.integers(1, 4 * BLOCK), max_size=4, unique=True).map(sorted)
plans = st.builds(
    Plan,
    st.integers(1, 2 * BLOCK + 1),
    st.lists(st.tuples(rising, rising), min_size=IMAGES, max_size=IMAGES),
)


def answers(batch):
    """Return the predictions of a batch: half the classifiers answer 0, half 1."""
    columns = [
        [index % CLASSES if index in segment.wanted else NOT_WANTED for index in range(CLASSIFIERS)]
        for segment in batch
        for _ in range(segment.length)
    ]
    return np.array(columns).T


def work_off(plan, size, *, one_segment=False, ahead=0, parts=10**6):
    """Count all batches, `ahead` of them late, in parts of a size; return votes and segments."""
    votes = Votes.none(IMAGES, CLASSIFIERS, CLASSES)
    queue = Queue(votes, plan, range(IMAGES), one_segment=one_segment)
    waiting, segments = deque(), []

    def count_oldest():
        batch = waiting.popleft()
        queue.count(batch, answers(batch))

    while True:
        batch = queue.next_batch(size)
        while waiting and queue.can_extend(batch, size):
            count_oldest()
            batch += queue.next_batch(size - length(batch))
        if not batch:
            return votes, segments
        assert length(batch) <= size
        assert not one_segment or len(batch) == 1
        segments += batch
        waiting.extend(split(batch, parts))
        while len(waiting) > ahead:
            count_oldest()


layouts = {
    "size": st.integers(1, 3 * BLOCK),
    "ahead": st.integers(0, 3),
    "parts": st.integers(1, 2 * BLOCK),
}


@given(plan=plans, **layouts)
def test_every_sample_is_handed_out_once_and_none_beyond_the_goal(plan, size, ahead, parts):
    votes, segments = work_off(plan, size, ahead=ahead, parts=parts)
    drawn = Counter(
        (segment.phase, segment.row, sample)
        for segment in segments
        for sample in range(segment.start, segment.stop)
    )
    last = [[(goals or [0])[-1] for goals in plan.goals[row]] for row in range(IMAGES)]
    expected = {
        (phase, row, sample)
        for row in range(IMAGES)
        for phase, samples in ((SELECTION, plan.n0), (ESTIMATION, max(last[row])))
        for sample in range(samples)
    }
    assert drawn == Counter(expected)
    for row in range(IMAGES):
        for index in range(CLASSIFIERS):
            selected = index % CLASSES
            counts = np.eye(CLASSES, dtype=int)[selected]
            assert votes.selection[row, index].tolist() == (plan.n0 * counts).tolist()
            assert votes.estimation[row, index].tolist() == (last[row][selected] * counts).tolist()
            assert votes.goals[row, index] == last[row][selected]
        assert not votes.wanting(row).size
        assert plan.asked[row] == sum(
            len(plan.goals[row][index % CLASSES]) + 1 for index in range(CLASSIFIERS)
        )
    assert votes.samples == len(expected)


@given(plan=plans, size=st.integers(1, 3 * BLOCK), one_segment=st.booleans())
def test_segments_are_in_order_and_stay_inside_a_block(plan, size, one_segment):
    _, segments = work_off(plan, size, one_segment=one_segment)
    ends = Counter()
    for segment in segments:
        assert 0 < segment.length == segment.stop - segment.start
        assert segment.start // BLOCK == (segment.stop - 1) // BLOCK == segment.block
        assert segment.whole_block.length == BLOCK
        samples = range(segment.whole_block.start, segment.whole_block.stop)[segment.inside]
        assert samples == range(segment.start, segment.stop)
        assert segment.wanted == tuple(sorted(segment.wanted)) != ()
        key = segment.phase, segment.row
        assert segment.start == ends[key]
        ends[key] = segment.stop


def test_batches_go_on_with_the_next_image_where_one_waits_for_its_votes():
    queue = Queue(Votes.none(2, 1, CLASSES), Plan(3, [([5], [5])] * 2), [0, 1], one_segment=False)
    first = queue.next_batch(4)
    assert first == [Segment(0, SELECTION, 0, 3, (0,)), Segment(1, SELECTION, 0, 1, (0,))]
    second = queue.next_batch(4)
    assert second == [Segment(1, SELECTION, 1, 3, (0,))]
    assert queue.next_batch(4) == []
    queue.count(first, answers(first))
    assert queue.next_batch(9) == [Segment(0, ESTIMATION, 0, 5, (0,))]
    queue.count(second, answers(second))
    assert queue.next_batch(9) == [Segment(1, ESTIMATION, 0, 5, (0,))]


def test_images_with_the_lowest_goals_come_first():
    """So classes are selected first, and what takes long waits until all else is finished."""
    goals = [[100, 900], [100], [100, 200], [700]]
    plan = Plan(BLOCK, [([*some], [*some]) for some in goals])
    _, segments = work_off(plan, 50)
    order = list(dict.fromkeys((part.phase, part.row) for part in segments))
    assert [phase for phase, _ in order] == [SELECTION] * IMAGES + [ESTIMATION] * IMAGES
    ends = {part.row: at for at, part in enumerate(segments)}
    assert sorted(ends, key=ends.get) == [1, 2, 3, 0]


def test_a_batch_has_room_until_it_is_full_or_holds_its_one_segment():
    batch = [Segment(0, SELECTION, 0, 3, (0,))]
    for one_segment, size, room in [(False, 4, True), (False, 3, False), (True, 4, False)]:
        queue = Queue(Votes.none(1, 1, CLASSES), Plan(3, [([], [])]), [0], one_segment=one_segment)
        assert queue.can_extend([], size)
        assert queue.can_extend(batch, size) == room


def test_a_sample_without_an_answer_is_never_counted():
    queue = Queue(Votes.none(1, 1, CLASSES), Plan(3, [([5], [5])]), [0], one_segment=False)
    with pytest.raises(ValueError, match="negative"):
        queue.count(queue.next_batch(3), np.array([[0, NOT_WANTED, 1]]))


segments = st.builds(
    lambda start, size, wanted: Segment(0, ESTIMATION, start, start + size, tuple(wanted)),
    st.integers(0, 500),
    st.integers(1, BLOCK),
    st.sets(st.integers(0, CLASSIFIERS - 1)),
)


@given(batch=st.lists(segments, min_size=1, max_size=5), size=st.integers(1, 2 * BLOCK))
def test_parts_are_full_and_keep_every_sample_in_order(batch, size):
    parts = split(batch, size)
    assert [length(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert 0 < length(parts[-1]) <= size

    def samples(batch):
        return [(i, s.wanted) for s in batch for i in range(s.start, s.stop)]

    assert [sample for part in parts for sample in samples(part)] == samples(batch)


@given(batch=st.lists(segments, max_size=5), classifier=st.integers(0, CLASSIFIERS - 1))
def test_places_are_the_columns_that_a_classifier_counts(batch, classifier):
    columns = [classifier in segment.wanted for segment in batch for _ in range(segment.length)]
    found = [column for place in places(batch, classifier) for column in range(len(columns))[place]]
    assert found == np.flatnonzero(columns).tolist()


def test_an_image_has_no_goal_until_all_of_its_selection_samples_are_counted():
    votes = Votes.none(1, 2, CLASSES)
    queue = Queue(votes, Plan(5, [([], [7])]), [0], one_segment=False)
    for size in (4, 1):
        assert votes.goals.tolist() == [[-1, -1]]
        assert votes.wanting(0).tolist() == [0, 1]
        batch = queue.next_batch(size)
        queue.count(batch, answers(batch))
    assert votes.goals.tolist() == [[0, 7]]
    assert votes.wanting(0).tolist() == [1]
