"""The main job shown with real packets, step by step; each step is done only when it was observed.

``steps`` says what is shown, ``show`` how it looks. A step that could not be tried here says so; one that was not observed
fails the demo.
"""
