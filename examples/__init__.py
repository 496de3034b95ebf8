"""Trainings that come with explr: networks on a real data set, and skeletons to start from."""
