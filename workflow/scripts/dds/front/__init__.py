"""The front door: images and models of one's own in, certificates and predictions out.

- `dds.front.certify`, `dds.front.predict`: the two calls;
- `dds.front.images`: what images people have, as one array;
- `dds.front.asked`: what a call asks, checked before anything is sampled;
- `dds.front.counting`: the votes, on one device or several, with a bar;
- `dds.front.saved`: the votes in a file, so that an interrupted call goes on;
- `dds.front.results`: what comes out, as tables.
"""
