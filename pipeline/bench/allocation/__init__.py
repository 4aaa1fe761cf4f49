"""Implicit against explicit bit allocation, on photos with instance masks: the claim of "ROI-based Deep Image
Compression with Implicit Bit Allocation" (arXiv 2511.08918).

Every variant has the same blocks, data, steps and seed; they differ in how the encoder learns of a region. Photos have
no plate to predict from, so the nets are those of plates, smaller; the codec's format knows nothing of this.

    variants   what is compared, made from the codec's blocks
    photos     crops to train on, photos with masks to measure on
    training   one variant's training, kept in a file
    parallel   several variants' training at a time, apart from measuring
    coding     a photo to bytes, and its errors by region
    surface    points at several rates and background weights to BD-rates at matched background
    run        all of it, kept in a folder
    exhibit    the result in words and as a picture
"""
