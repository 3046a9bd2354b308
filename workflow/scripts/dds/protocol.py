"""Numbers that say which version of the method made a result that is dear to make again.

A result of another number is made again, whatever else has changed or not. So each is
raised only by a change that alters the result itself, and then always.
"""

#: Of votes: what is sampled, and how.
PROTOCOL = 2

#: Of votes under integer noise. What changes all votes raises both numbers.
INTEGER_NOISE_PROTOCOL = 3

#: Of attacked images: how they are found and judged.
ATTACK_PROTOCOL = 1

#: Of weights: how networks are trained and tuned.
TRAINING_PROTOCOL = 1

#: Of prepared images: which they are, and how they are decoded.
DATA_PROTOCOL = 1
