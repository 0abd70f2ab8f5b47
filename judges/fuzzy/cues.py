"""Phrases that change what a label beside them means: denials, comparisons, conclusions, talk to the judge."""

from __future__ import annotations

from judges.fuzzy.wordlists import phrase_set

# A label after one of these is denied, up to the end of the clause.
DENIAL = """
not|no|never|neither|nor|without|cannot|can t|cant|isn t|isnt|aren t|arent|wasn t|wasnt|weren t|don t|dont|doesn t
doesnt|didn t|didnt|won t|wouldn t|couldn t|shouldn t|hasn t|haven t|ain t|rather than|instead of|unlike|other than
as opposed to|except|except for|excluding|nothing like|anything but|far from|ruled out|rule out|rules out|absence of
lack of|lacks|free of|non|hardly|by no means|unable to|fails to|failed to|nothing to do with
"""
# These hold a word of denial and deny nothing.
AFFIRMATION = """
not only|not just|not merely|not simply|no doubt|without a doubt|without doubt|without any doubt|without question
none other than|no other than|nothing other than|nothing but|no question|not sure|not certain|not entirely sure
not completely sure|not totally sure|not 100 sure|not very clear|not clear|not entirely clear|not very sure
not entirely certain|not absolutely certain|i m not sure|not the best quality|can t help but|cannot help but
can t be anything but|not unlike|no longer in doubt|not difficult to see|not hard to see|can t miss|no problem
"""
# A label after one of these is only compared with; it counts where nothing else is asserted.
COMPARISON = """
like|looks like|look like|looked like|looking like|similar to|resembles|resembling|resemble|reminiscent of
confused with|mistaken for|mistake for|compared to|compared with|related to|as big as|such as|shaped like|at first
at first glance|at first sight|initially|i thought|first thought|might be mistaken for|appeared to be|seemed
confuse with|in the style of|relative of|a relative of|cousin of
"""
# What follows is the conclusion; the reasoning before it no longer counts.
CONCLUSION = """
answer is|answer was|answer would be|answer should be|answer must be|answer|final answer|therefore|thus|hence
in conclusion|to conclude|conclusion|conclude|conclude that|concluded|in summary|so it is|so it s|so this is
so that is|so it must be|so this must be|so the object is|so the digit is|so the number is|so the animal is
so the image shows|i d say|i would say|i ll go with|i will go with|i d go with|i ll say|my guess is|best guess
going with|i am going with|i m going with|i choose|i pick|settle on|i settle on|i am confident that|in short
final decision|final verdict|final choice|final prediction|final label|final classification|final response
"""
# What came before is taken back.
RETRACTION = """
no wait|wait no|wait|scratch that|correction|i mean|i meant|on second thought|on closer inspection
upon closer inspection|on closer look|let me correct|let me correct myself|my mistake|sorry i|oops|hmm no|or rather
actually no|no it s|no it is|no this is|no that s|no that is|looking closer|looking more closely|on reflection
upon reflection|make that
"""
# What follows is only wondered about: nothing is asserted by "I cannot tell whether it is a cat".
QUESTION = """
whether|tell if|sure if|certain if|know if|see if|determine if|clear if|not sure if|not sure whether|not certain if
wonder if|say if|decide if|not sure that
"""
# A label before one of these may be denied by it; `reading` looks closer.
REFUTATION = """
wrong|incorrect|false|absent|impossible|unlikely|excluded
"""
# A sentence with one of these may be addressed to the judge; `injection` looks closer.
JUDGE = """
ignore|disregard|override|grade|graded|grader|grading|score|scored|scoring|rate|rated|rating|judge|judged|judging
judgment|judgement|evaluator|evaluate|evaluation|verdict|mark|marked|accept|accepted|treat|treated|system
instruction|instructions|prompt|ground truth|gold|correct|prediction|label|labels|assistant|answer yes|yes|points
full marks|consider|count|counts|regardless|reference|assume|reply|respond|response|output|print|pass|true|expected
"""


_KINDS = {
    "judge": JUDGE,
    "refutation": REFUTATION,
    "question": QUESTION,
    "retraction": RETRACTION,
    "conclusion": CONCLUSION,
    "comparison": COMPARISON,
    "affirmation": AFFIRMATION,
    "denial": DENIAL,
}
# Phrase, as it stands in folded text → kind of cue.
CUES = {phrase: kind for kind, text in _KINDS.items() for phrase in sorted(phrase_set(text))}
